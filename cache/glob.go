package cache

// glob reports whether a name matches a pattern: * any bytes, ? one, [a-z] one of a class, [^a] one that is not, and a
// backslash for the next byte itself. It takes time in the product of both lengths, up to a bound: what is not known to match then does
// not.
func glob(pattern, name []byte) bool {
	p, n := 0, 0
	star, resume := -1, 0 // behind the last *, and where in the name to try it next
	for steps := 0; n < len(name); steps++ {
		if steps > globSteps+4*len(name) {
			return false
		}
		if p < len(pattern) && pattern[p] == '*' {
			p++
			star, resume = p, n
			continue
		}
		if p < len(pattern) {
			if ok, next := globOne(pattern, p, name[n]); ok {
				p, n = next, n+1
				continue
			}
		}
		if star < 0 {
			return false
		}
		resume++
		p, n = star, resume
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// globSteps is for how long a name is tried: some milliseconds. Only patterns of thousands of bytes come so far, on names as long.
const globSteps = 1 << 22

// globOne matches one byte against what is at p in a pattern, and returns what follows that.
func globOne(pattern []byte, p int, c byte) (ok bool, next int) {
	switch pattern[p] {
	case '?':
		return true, p + 1
	case '[':
		return globClass(pattern, p+1, c)
	case '\\':
		if p+1 < len(pattern) {
			p++
		}
	}
	return pattern[p] == c, p + 1
}

func globClass(pattern []byte, p int, c byte) (ok bool, next int) {
	not := p < len(pattern) && pattern[p] == '^'
	if not {
		p++
	}
	for ; p < len(pattern) && pattern[p] != ']'; p++ {
		switch {
		case pattern[p] == '\\' && p+1 < len(pattern):
			p++
			ok = ok || pattern[p] == c
		case p+2 < len(pattern) && pattern[p+1] == '-':
			low, high := min(pattern[p], pattern[p+2]), max(pattern[p], pattern[p+2])
			ok = ok || c >= low && c <= high
			p += 2
		default:
			ok = ok || pattern[p] == c
		}
	}
	return ok != not, min(p+1, len(pattern))
}
