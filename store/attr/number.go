package attr

import (
	"math/big"
	"strconv"
)

// MaxDigits that a number has, and the decimal exponents of its first digit: 1E-130 to 9.99...E125.
const (
	MaxDigits   = 38
	minExponent = -130
	maxExponent = 125
)

// NumberError is what is wrong with a number, in DynamoDB's words.
type NumberError string

func (e NumberError) Error() string { return string(e) }

const (
	ErrNotNumber NumberError = "The parameter cannot be converted to a numeric value"
	ErrOverflow  NumberError = "Number overflow. Attempting to store a number with magnitude larger than supported range"
	ErrUnderflow NumberError = "Number underflow. Attempting to store a number with magnitude smaller than supported range"
	ErrPrecision NumberError = "Attempting to store more than 38 significant digits in a Number"
)

// A number is kept as bytes that compare as the numbers do, and of which each number has one form. With the number as
// +-0.d1d2d3... x 10^e and d1 not 0:
//
//	0x01                                        zero
//	0x02, e+129, (d1d2)+1, (d3d4)+1, ..., 0x00  positive: pairs of digits, the last filled up by a zero
//	0x00, then the rest of its positive, each byte complemented
const (
	signNegative = 0
	signZero     = 1
	signPositive = 2
	exponentBias = 129
)

// decimal is a number taken apart.
type decimal struct {
	negative bool
	exponent int    // of 0.d1d2...
	digits   []byte // 0 to 9, neither first nor last is 0; none: zero
	tooLong  bool   // there were more digits than fit
}

// ParseNumber returns the encoding of a number in decimal notation, with or without an exponent.
func ParseNumber(text string) (string, error) {
	var room [48]byte
	d, err := parseDecimal(text, room[:0])
	if err != nil {
		return "", err
	}
	return d.encode(), nil
}

// parseDecimal reads text; digits are appended to room.
func parseDecimal(text string, room []byte) (decimal, error) {
	d := decimal{digits: room}
	i := 0
	if i < len(text) && (text[i] == '-' || text[i] == '+') {
		d.negative = text[i] == '-'
		i++
	}
	point, seen, zeros := 0, 0, 0 // digits before the point (leading zeros aside), all digits, zeros not yet appended
	fraction := false
	for ; i < len(text); i++ {
		c := text[i]
		switch {
		case c == '.' && !fraction:
			fraction = true
			continue
		case c < '0' || c > '9':
		case c == '0':
			seen++
			if len(d.digits) > 0 {
				zeros++
			} else if fraction {
				point--
			}
			if !fraction && len(d.digits) > 0 {
				point++
			}
			continue
		default:
			seen++
			if d.tooLong || len(d.digits)+zeros+1 > MaxDigits {
				d.tooLong = true // an error at the end only, for the magnitude is complained of first
			} else {
				for ; zeros > 0; zeros-- {
					d.digits = append(d.digits, 0)
				}
				d.digits = append(d.digits, c-'0')
			}
			if !fraction {
				point++
			}
			continue
		}
		break
	}
	if seen == 0 {
		return d, ErrNotNumber
	}
	exponent := 0
	if i < len(text) {
		if text[i] != 'e' && text[i] != 'E' {
			return d, ErrNotNumber
		}
		e, ok := parseExponent(text[i+1:])
		if !ok {
			return d, ErrNotNumber
		}
		exponent = e
	}
	if len(d.digits) == 0 {
		return decimal{}, nil
	}
	d.exponent = point + exponent
	return d, d.check()
}

// parseExponent reads an exponent; a huge one is bounded, for it is out of range in any case.
func parseExponent(text string) (int, bool) {
	negative := false
	if text != "" && (text[0] == '-' || text[0] == '+') {
		negative, text = text[0] == '-', text[1:]
	}
	if text == "" {
		return 0, false
	}
	e := 0
	for i := 0; i < len(text); i++ {
		if text[i] < '0' || text[i] > '9' {
			return 0, false
		}
		e = min(e*10+int(text[i]-'0'), 1<<30)
	}
	if negative {
		e = -e
	}
	return e, true
}

func (d decimal) check() error {
	switch {
	case d.exponent-1 > maxExponent:
		return ErrOverflow
	case d.exponent-1 < minExponent:
		return ErrUnderflow
	case d.tooLong:
		return ErrPrecision
	}
	return nil
}

func (d decimal) encode() string {
	if len(d.digits) == 0 {
		return string([]byte{signZero})
	}
	var room [24]byte
	b := append(room[:0], signPositive, byte(d.exponent+exponentBias))
	for i := 0; i < len(d.digits); i += 2 {
		pair := d.digits[i] * 10
		if i+1 < len(d.digits) {
			pair += d.digits[i+1]
		}
		b = append(b, pair+1)
	}
	b = append(b, 0)
	if d.negative {
		b[0] = signNegative
		for i := 1; i < len(b); i++ {
			b[i] = ^b[i]
		}
	}
	return string(b)
}

// decodeDecimal takes an encoding apart; digits are appended to room. ok is false if it is none.
func decodeDecimal(encoded string, room []byte) (d decimal, ok bool) {
	d.digits = room
	if encoded == "\x01" {
		return d, true
	}
	if len(encoded) < 4 || (encoded[0] != signNegative && encoded[0] != signPositive) {
		return d, false
	}
	var flip byte
	if encoded[0] == signNegative {
		d.negative, flip = true, 0xff
	}
	d.exponent = int(encoded[1]^flip) - exponentBias
	last := len(encoded) - 1
	if encoded[last]^flip != 0 {
		return d, false
	}
	for i := 2; i < last; i++ {
		pair := encoded[i] ^ flip
		if pair < 1 || pair > 100 {
			return d, false
		}
		d.digits = append(d.digits, (pair-1)/10, (pair-1)%10)
	}
	if n := len(d.digits); d.digits[n-1] == 0 {
		d.digits = d.digits[:n-1]
	}
	n := len(d.digits)
	return d, n <= MaxDigits && d.digits[0] != 0 && d.digits[n-1] != 0
}

// encodedNumber is how many bytes of b are a number's encoding, 0 if they begin with none.
func encodedNumber(b []byte) int {
	if len(b) > 0 && b[0] == signZero {
		return 1
	}
	if len(b) == 0 || b[0] > signPositive {
		return 0
	}
	end := byte(0)
	if b[0] == signNegative {
		end = 0xff
	}
	for i := 2; i < len(b) && i < 24; i++ {
		if b[i] == end {
			return i + 1
		}
	}
	return 0
}

// AppendNumber appends the plain decimal notation of an encoded number.
func AppendNumber(dst []byte, encoded string) []byte {
	var room [40]byte
	d, ok := decodeDecimal(encoded, room[:0])
	if !ok || len(d.digits) == 0 {
		return append(dst, '0')
	}
	if d.negative {
		dst = append(dst, '-')
	}
	if d.exponent <= 0 {
		dst = append(dst, '0', '.')
		for i := d.exponent; i < 0; i++ {
			dst = append(dst, '0')
		}
	}
	for i, c := range d.digits {
		if i == d.exponent && i > 0 {
			dst = append(dst, '.')
		}
		dst = append(dst, '0'+c)
	}
	for i := len(d.digits); i < d.exponent; i++ {
		dst = append(dst, '0')
	}
	return dst
}

// NumberText is the plain decimal notation of an encoded number.
func NumberText(encoded string) string { return string(AppendNumber(nil, encoded)) }

// Int returns an encoded number as an integer; ok is false if it is none or does not fit.
func Int(encoded string) (n int64, ok bool) {
	var room [40]byte
	d, ok := decodeDecimal(encoded, room[:0])
	if !ok || d.exponent > 18 || len(d.digits) > max(d.exponent, 0) {
		return 0, false
	}
	for i := range d.exponent {
		n *= 10
		if i < len(d.digits) {
			n += int64(d.digits[i])
		}
	}
	if d.negative {
		n = -n
	}
	return n, true
}

// FromInt is the encoding of an integer.
func FromInt(n int64) string {
	s, _ := ParseNumber(strconv.FormatInt(n, 10)) // 19 digits always fit
	return s
}

// Add returns the encoding of a+b, or of a-b. The sum of numbers that are too far apart for 38 digits is an error, not rounded.
func Add(a, b string, minus bool) (string, error) {
	if x, ok := Int(a); ok {
		if y, ok := Int(b); ok { // both below 10^18, so that the sum fits
			if minus {
				y = -y
			}
			return FromInt(x + y), nil
		}
	}
	var ra, rb [40]byte
	x, okA := decodeDecimal(a, ra[:0])
	y, okB := decodeDecimal(b, rb[:0])
	if !okA || !okB {
		return "", ErrNotNumber
	}
	if minus {
		y.negative = !y.negative
	}
	scale := min(x.exponent-len(x.digits), y.exponent-len(y.digits)) // the exponent of the last digit
	sum := x.integer(scale)
	sum.Add(sum, y.integer(scale))
	z, err := parseDecimal(sum.String()+"E"+strconv.Itoa(scale), nil)
	if err != nil {
		return "", err
	}
	return z.encode(), nil
}

// integer is the number divided by 10^scale.
func (d decimal) integer(scale int) *big.Int {
	n := new(big.Int)
	if len(d.digits) == 0 {
		return n
	}
	text := make([]byte, 0, MaxDigits)
	for _, c := range d.digits {
		text = append(text, '0'+c)
	}
	n.SetString(string(text), 10)
	n.Mul(n, new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(d.exponent-len(d.digits)-scale)), nil))
	if d.negative {
		n.Neg(n)
	}
	return n
}
