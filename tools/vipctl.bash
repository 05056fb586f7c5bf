# SPDX-License-Identifier: GPL-2.0-or-later
# bash completion for vipctl(8). Commands and options are taken from --help, so that they cannot be
# others than the program's; names, addresses and tasks from the running vipd, if it answers at once.

# What vipctl vips --json prints of these keys (at the margin: of VIPs, deeper: of backends).
_vipctl_words() { # SOCKET KEYS-OF-VIPS KEYS-OF-BACKENDS
	timeout 1 vipctl ${1:+"$1"} --json vips 2>/dev/null |
		sed -En "s/^ {4}\"($2)\": *\"([^\"]+)\".*/\2/p; s/^ {5,}\"($3)\": *\"([^\"]+)\".*/\2/p" |
		sed -E 's/\.l4lb\.thisdcos\.directory//' | sort -u
}

_vipctl_commands() {
	vipctl --help 2>/dev/null | sed -En 's/^  ([a-z]+) .*/\1/p'
}

_vipctl_options() { # [COMMAND]
	{
		vipctl --help
		[ -z "$1" ] || vipctl "$1" --help
	} 2>/dev/null | sed -En 's/^  (--[a-z0-9-]+=?).*/\1/p' | sort -u
}

_vipctl() {
	local cur=${COMP_WORDS[COMP_CWORD]} line=${COMP_LINE:0:COMP_POINT} command='' socket='' words='' word i
	# Colons and equals signs part words of bash, not ours.
	cur=${line##*[[:space:]]}
	for word in ${line%"$cur"}; do
		case $word in
		vipctl | */vipctl) ;;
		--socket=*) socket=$word ;;
		-*) ;;
		*) command=${command:-$word} ;;
		esac
	done
	COMPREPLY=()
	case $cur in
	--socket=* | --state=*)
		compopt -o filenames 2>/dev/null
		COMPREPLY=($(compgen -f -- "${cur#*=}"))
		return
		;;
	--color=*) words='auto always never' cur=${cur#*=} ;;
	-*) words=$(_vipctl_options "$command") ;;
	*)
		case $command in
		'' | help) words=$(_vipctl_commands) ;;
		vip) words=$(_vipctl_words "$socket" 'vip|address' none) ;;
		why) words=$(_vipctl_words "$socket" 'vip|address' task) ;;
		backends) words=$(_vipctl_words "$socket" none agent) ;;
		esac
		;;
	esac
	COMPREPLY=($(compgen -W "$words" -- "$cur"))
	# What stands before the last colon of the word is there already.
	if [[ $cur == *:* && $COMP_WORDBREAKS == *:* ]]; then
		for i in "${!COMPREPLY[@]}"; do
			COMPREPLY[i]=${COMPREPLY[i]#"${cur%"${cur##*:}"}"}
		done
	fi
	[[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *= ]] && compopt -o nospace 2>/dev/null
	return 0
}

complete -F _vipctl vipctl
