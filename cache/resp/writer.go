package resp

import (
	"math"
	"strconv"
)

// AppendHead appends a type's byte and a number, as lengths are written.
func AppendHead(b []byte, kind byte, n int64) []byte {
	if n >= 0 && n < 10 {
		return append(b, kind, byte('0'+n), '\r', '\n')
	}
	b = append(b, kind)
	b = strconv.AppendInt(b, n, 10)
	return append(b, '\r', '\n')
}

// AppendBulk appends a string of any bytes.
func AppendBulk[T ~string | ~[]byte](b []byte, v T) []byte {
	b = AppendHead(b, '$', int64(len(v)))
	b = append(b, v...)
	return append(b, '\r', '\n')
}

// AppendInt appends an integer.
func AppendInt(b []byte, n int64) []byte { return AppendHead(b, ':', n) }

// AppendSimple appends a string without line ends.
func AppendSimple(b []byte, s string) []byte {
	b = append(b, '+')
	b = append(b, s...)
	return append(b, '\r', '\n')
}

// AppendError appends an error. Line ends in it become spaces.
func AppendError(b []byte, s string) []byte {
	b = append(b, '-')
	for i := range len(s) {
		if c := s[i]; c == '\r' || c == '\n' {
			b = append(b, ' ')
		} else {
			b = append(b, c)
		}
	}
	return append(b, '\r', '\n')
}

// AppendArray begins an array of n values.
func AppendArray(b []byte, n int) []byte { return AppendHead(b, '*', int64(n)) }

// AppendMap begins a map of n keys and values; in version 2 an array of both.
func AppendMap(b []byte, v3 bool, n int) []byte {
	if v3 {
		return AppendHead(b, '%', int64(n))
	}
	return AppendHead(b, '*', int64(2*n))
}

// AppendSet begins a set of n values; in version 2 an array.
func AppendSet(b []byte, v3 bool, n int) []byte {
	if v3 {
		return AppendHead(b, '~', int64(n))
	}
	return AppendHead(b, '*', int64(n))
}

// AppendPush begins what comes without having been asked for; in version 2 an array.
func AppendPush(b []byte, v3 bool, n int) []byte {
	if v3 {
		return AppendHead(b, '>', int64(n))
	}
	return AppendHead(b, '*', int64(n))
}

// AppendNull appends no value; in version 2 as a string that is not there.
func AppendNull(b []byte, v3 bool) []byte {
	if v3 {
		return append(b, "_\r\n"...)
	}
	return append(b, "$-1\r\n"...)
}

// AppendNullArray appends no value; in version 2 as an array that is not there.
func AppendNullArray(b []byte, v3 bool) []byte {
	if v3 {
		return append(b, "_\r\n"...)
	}
	return append(b, "*-1\r\n"...)
}

// AppendBool appends a truth value; in version 2 as 1 or 0.
func AppendBool(b []byte, v3, v bool) []byte {
	switch {
	case v3 && v:
		return append(b, "#t\r\n"...)
	case v3:
		return append(b, "#f\r\n"...)
	case v:
		return append(b, ":1\r\n"...)
	}
	return append(b, ":0\r\n"...)
}

// AppendDouble appends a number; in version 2 as a string.
func AppendDouble(b []byte, v3 bool, f float64) []byte {
	var space [32]byte
	text := AppendFloat(space[:0], f)
	if !v3 {
		return AppendBulk(b, text)
	}
	b = append(b, ',')
	b = append(b, text...)
	return append(b, '\r', '\n')
}

// AppendFloat appends a number as Redis writes scores: 17 significant digits at most, as %.17g of C.
func AppendFloat(b []byte, f float64) []byte {
	switch {
	case math.IsInf(f, 1):
		return append(b, "inf"...)
	case math.IsInf(f, -1):
		return append(b, "-inf"...)
	case f == math.Trunc(f) && math.Abs(f) < 1e17:
		if f == 0 && math.Signbit(f) {
			return append(b, "-0"...)
		}
		return strconv.AppendInt(b, int64(f), 10)
	}
	return appendG(b, f, 17)
}

// appendG appends a number as %.*g of C does.
func appendG(b []byte, f float64, digits int) []byte {
	var space [40]byte
	e := strconv.AppendFloat(space[:0], f, 'e', digits-1, 64)
	mantissa, exponent := e, 0
	for i, c := range e {
		if c == 'e' {
			mantissa = e[:i]
			exponent, _ = strconv.Atoi(string(e[i+1:])) // what AppendFloat wrote
			break
		}
	}
	if exponent < -4 || exponent >= digits {
		b = append(b, trimZeros(mantissa)...)
		b = append(b, 'e')
		sign := byte('+')
		if exponent < 0 {
			sign, exponent = '-', -exponent
		}
		b = append(b, sign)
		if exponent < 10 {
			b = append(b, '0')
		}
		return strconv.AppendInt(b, int64(exponent), 10)
	}
	fixed := strconv.AppendFloat(space[:0], f, 'f', digits-1-exponent, 64)
	return append(b, trimZeros(fixed)...)
}

// trimZeros drops what a number does not need behind its point.
func trimZeros(s []byte) []byte {
	point := false
	for _, c := range s {
		point = point || c == '.'
	}
	if !point {
		return s
	}
	for s[len(s)-1] == '0' {
		s = s[:len(s)-1]
	}
	if s[len(s)-1] == '.' {
		s = s[:len(s)-1]
	}
	return s
}
