package resp

import (
	"bytes"
	"math"
	"strings"
	"testing"
)

var whole = &Limits{Args: 1 << 20, Bulk: 1 << 20}

// FuzzParse: however a stream is cut into pieces, the same commands come out of it, and arguments are as long as was
// announced.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", "PING\r\n", "*0\r\n*-1\r\n*1\r\n$0\r\n\r\n", "set 'a b' \"c\\x41\\n\"\r\n", "*1\r\n$-1\r\n",
		"*3\r\n$3\r\nSET\r\n$10\r\n0123456789\r\n$12\r\n012345678901\r\n", "*99999999999999999999\r\n", "*1\n$4\nPING\n", "\r\n\r\n",
	} {
		f.Add([]byte(s), uint8(3))
	}
	f.Fuzz(func(t *testing.T, stream []byte, piece uint8) {
		once, errOnce := parseAll(stream, len(stream)+1)
		pieces, errPieces := parseAll(stream, int(piece%16)+1)
		if errOnce != nil && errPieces != nil && errOnce.Error() != errPieces.Error() || (errOnce == nil) != (errPieces == nil) {
			t.Fatalf("at once: %v, in pieces: %v", errOnce, errPieces)
		}
		if strings.Join(once, "\n") != strings.Join(pieces, "\n") {
			t.Fatalf("at once: %q, in pieces: %q", once, pieces)
		}
	})
}

// parseAll parses a stream that comes in pieces of some length.
func parseAll(stream []byte, piece int) (commands []string, err error) {
	var p Parser
	start := 0
	for end := min(piece, len(stream)); ; end = min(end+piece, len(stream)) {
		for start < end {
			n, err := p.Parse(stream[start:end], whole)
			if err != nil {
				return commands, err
			}
			if n == 0 {
				break
			}
			if start += n; len(p.Args) > 0 {
				commands = append(commands, string(bytes.Join(p.Args, []byte{0})))
			}
		}
		if end == len(stream) {
			return commands, nil
		}
	}
}

func TestParseInt(t *testing.T) {
	for text, want := range map[string]int64{"0": 0, "-1": -1, "9223372036854775807": math.MaxInt64, "-9223372036854775808": math.MinInt64, "10": 10} {
		if n, ok := ParseInt([]byte(text)); !ok || n != want {
			t.Errorf("%s is %d, %v", text, n, ok)
		}
	}
	for _, text := range []string{"", "-", "+1", "01", "-0", "1.0", " 1", "1 ", "9223372036854775808", "-9223372036854775809", "18446744073709551616", "99999999999999999999", "1e3"} {
		if n, ok := ParseInt([]byte(text)); ok {
			t.Errorf("%q is %d", text, n)
		}
	}
}

// Numbers are written as %.17g of C writes them, but for whole ones.
func TestAppendFloat(t *testing.T) {
	for f, want := range map[float64]string{
		0: "0", 1: "1", -2.5: "-2.5", 0.1: "0.10000000000000001", 1e-7: "9.9999999999999995e-08", 3e20: "3e+20", 1e100: "1e+100",
		math.Inf(1): "inf", math.Inf(-1): "-inf", 1234567.875: "1234567.875", 0.0001: "0.0001",
	} {
		if got := string(AppendFloat(nil, f)); got != want {
			t.Errorf("%v is written %s, want %s", f, got, want)
		}
	}
}

func TestVersions(t *testing.T) {
	for name, c := range map[string]struct{ two, three []byte }{
		"null":   {AppendNull(nil, false), AppendNull(nil, true)},
		"map":    {AppendMap(nil, false, 2), AppendMap(nil, true, 2)},
		"set":    {AppendSet(nil, false, 12), AppendSet(nil, true, 12)},
		"push":   {AppendPush(nil, false, 3), AppendPush(nil, true, 3)},
		"double": {AppendDouble(nil, false, 1.5), AppendDouble(nil, true, 1.5)},
		"bool":   {AppendBool(nil, false, true), AppendBool(nil, true, true)},
	} {
		want := map[string][2]string{
			"null": {"$-1\r\n", "_\r\n"}, "map": {"*4\r\n", "%2\r\n"}, "set": {"*12\r\n", "~12\r\n"}, "push": {"*3\r\n", ">3\r\n"},
			"double": {"$3\r\n1.5\r\n", ",1.5\r\n"}, "bool": {":1\r\n", "#t\r\n"},
		}[name]
		if string(c.two) != want[0] || string(c.three) != want[1] {
			t.Errorf("%s: %q and %q, want %q", name, c.two, c.three, want)
		}
	}
	if got := string(AppendError(nil, "ERR a\r\nb")); got != "-ERR a  b\r\n" {
		t.Errorf("an error with a line's end is written %q", got)
	}
}
