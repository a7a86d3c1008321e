package segment

// A word is a run of letters, digits and '_' of ASCII, and of all bytes above ASCII; capitals of ASCII count as small letters. A
// backslash and one of n, t, r before a word count as the line end or tab that they stand for in JSON, so that the word behind them is
// found both with and without that letter.

var wordByte = func() (t [256]byte) {
	for c := range 256 {
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '_', c >= 0x80:
			t[c] = byte(c)
		case c >= 'A' && c <= 'Z':
			t[c] = byte(c) + 'a' - 'A'
		}
	}
	return t
}()

const (
	hashOffset = 14695981039346656037 // FNV-1a
	hashPrime  = 1099511628211
)

// mixed spreads a hash over all its bits (the finalizer of MurmurHash3). It is never 0.
func mixed(h uint64) uint64 {
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	return max(h^h>>33, 1)
}

func hashWord(s string) uint64 {
	h := uint64(hashOffset)
	for i := range len(s) {
		h = (h ^ uint64(wordByte[s[i]])) * hashPrime
	}
	return mixed(h)
}

// escapedAt reports whether the word that begins at i has an escape's letter for its first.
func escapedAt(s string, i int) bool {
	return i > 0 && s[i-1] == '\\' && (s[i] == 'n' || s[i] == 't' || s[i] == 'r')
}

// Words returns the words of s.
func Words(s string) (words []string) {
	for i := 0; i < len(s); {
		if wordByte[s[i]] == 0 {
			i++
			continue
		}
		begin := i
		for i < len(s) && wordByte[s[i]] != 0 {
			i++
		}
		words = append(words, s[begin:i])
	}
	return words
}

func equalFold(a, b string) bool {
	for i := range len(a) {
		if wordByte[a[i]] != wordByte[b[i]] {
			return false
		}
	}
	return true
}

// hasWords reports whether the words stand in s one after the other; the last may be the beginning of a word if prefix.
func hasWords(s string, words []string, prefix bool) bool {
	for i := 0; i < len(s); {
		if wordByte[s[i]] == 0 {
			i++
			continue
		}
		if wordsAt(s, i, words, prefix) || escapedAt(s, i) && i+1 < len(s) && wordByte[s[i+1]] != 0 && wordsAt(s, i+1, words, prefix) {
			return true
		}
		for i < len(s) && wordByte[s[i]] != 0 {
			i++
		}
	}
	return false
}

// wordsAt reports whether the words follow from i on, where a word begins.
func wordsAt(s string, i int, words []string, prefix bool) bool {
	for n, w := range words {
		if n > 0 {
			for i < len(s) && wordByte[s[i]] == 0 {
				i++
			}
		}
		if len(s)-i < len(w) || !equalFold(w, s[i:i+len(w)]) {
			// The word may stand behind an escape's letter.
			if n == 0 || i >= len(s) || !escapedAt(s, i) || len(s)-i-1 < len(w) || !equalFold(w, s[i+1:i+1+len(w)]) {
				return false
			}
			i++
		}
		i += len(w)
		if last := n == len(words)-1; i < len(s) && wordByte[s[i]] != 0 && !(last && prefix) {
			return false
		}
	}
	return true
}
