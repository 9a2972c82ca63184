# Completion of kheaders-adb's command line in fish.
#
# The program says what fits; what it answers is text here and never run, since serials and releases are devices'
# own words.

function __kheaders_adb_complete
    set -l words (commandline -opc)
    # From fish 4 on, -o leaves quotes in the words.
    commandline -x >/dev/null 2>&1; and set words (commandline -xpc)
    set -l token (commandline -ct)
    set -l program (string replace -r '^~/' "$HOME/" -- $words[1])
    set -e words[1]
    # An alias, perhaps.
    type -fq -- $program; or set program kheaders-adb
    set -l lines (env _KHEADERS_ADB_COMPLETE=fish $program $words "$token" </dev/null 2>/dev/null)
    set -l kind $lines[1]
    set -e lines[1]
    # fish completes the whole word.
    set -l glued (string match -r -- '^--[^=]*=' "$token")
    set -l path (string replace -r -- '^--[^=]*=' '' "$token")
    switch "$kind"
        case words
            string join \n -- $lines
        case files
            printf "$glued%s\n" (__fish_complete_path "$path")
        case folders
            printf "$glued%s\n" (__fish_complete_directories "$path" '')
        case sources
            __fish_complete_path "$path" | string match -r '^[^\t]*(?:/|\.c)(?:\t.*)?$'
    end
end

complete -c kheaders-adb -f -a '(__kheaders_adb_complete)'
