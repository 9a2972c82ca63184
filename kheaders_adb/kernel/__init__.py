"""What a kernel and an archive say of themselves, and whether they agree.  Pure: it reads nothing itself."""
