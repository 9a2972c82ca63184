# kheaders-adb probe
# Say everything worth knowing about the kernel, in sections that begin with MARK and a name.
# Given: MARK; ARCHIVES and MODULES, the paths to look at (MODULES with wildcards); PLACES, where the work folder
# may be; NAME, what it is called.
# Each process costs a phone some milliseconds, so there is one in all: the rest are the shell's own words.

exec 2>/dev/null
section() {
  echo
  echo "$MARK $1"
}
kernel=/proc/sys/kernel

section uname
# On two lines: the release may hold blanks, as the version does.  Not by echo: some take a backslash for their own.
# shellcheck disable=SC2015 # where one of them cannot be read, uname says all three
read -r release <$kernel/osrelease && read -r version <$kernel/version && read -r machine <$kernel/arch &&
  printf "%s\n" "$release" "$version $machine" || { uname -r && uname -vm; }
section banner
read -r x </proc/version && printf "%s\n" "$x"
section boot_id
read -r x <$kernel/random/boot_id && echo "$x"

section uid
# mksh has it in a variable.
uid=$USER_ID
# shellcheck disable=SC2034 # the second and fourth fields are the real and the saved uid
[ "$uid" ] || while read -r key real effective rest; do
  [ "$key" = Uid: ] && uid=$effective && break
done </proc/self/status
echo "$uid"

# gzip says where it ends, so that what follows the configuration are the notes.
section binary
cat /proc/config.gz /sys/kernel/notes

section files
for f in $ARCHIVES $MODULES; do
  [ -f "$f" ] || continue
  if [ -r "$f" ]; then echo "r $f"; else echo "- $f"; fi
done
section loaded
[ -d /sys/module/kheaders ] && echo 1
# mksh reads byte by byte, and a number in /proc/sys ends after the first read(2): one without its newline,
# at which `read` fails although it has read.
section disabled
x=
read -r x <$kernel/modules_disabled
echo "$x"

section work
# Root's is not to be one that others may write into, nor the other way round.
mine=$NAME
[ "$uid" = 0 ] || mine=$NAME.$uid
for folder in $PLACES; do [ -d "$folder" ] && [ -w "$folder" ] && echo "$folder/$mine"; done
section ours
for folder in $PLACES; do
  for f in "$folder/$NAME"/* "$folder/$NAME".*/*; do [ -e "$f" ] && echo "$f"; done
done
section root
if [ "$uid" != 0 ]; then
  command -v su >/dev/null && echo su
  getprop ro.debuggable
fi
section end
