# Completion of kheaders-adb's command line in bash.
#
# The program says what fits; the line is handed to it as text, and what it answers is text here, too: it has quoted
# what a shell could take for something else, since serials and releases are devices' own words.

_kheaders_adb() {
    local program=$1 kind word line
    COMPREPLY=()
    [[ $program != '~/'* ]] || program=$HOME/${program#'~/'}
    # An alias, perhaps.
    type -P -- "$program" >/dev/null || program=kheaders-adb
    {
        IFS=$'\t' read -r kind word
        while IFS= read -r line; do
            COMPREPLY+=("$line")
        done
    } < <(_KHEADERS_ADB_COMPLETE=bash "$program" "${COMP_LINE:0:COMP_POINT}" "$COMP_WORDBREAKS" \
        </dev/null 2>/dev/null)
    case $kind in
    files) compopt -o default ;;
    folders) compopt -o dirnames ;;
    sources)
        compopt -o filenames
        while IFS= read -r line; do
            COMPREPLY+=("$line")
        done < <(compgen -d -- "$word"; compgen -f -X '!*.c' -- "$word")
        ;;
    esac
}

complete -F _kheaders_adb kheaders-adb
