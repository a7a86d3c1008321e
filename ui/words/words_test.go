package words

import (
	"math"
	"testing"
)

func TestWords(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{Number(0), "0"}, {Number(7), "7"}, {Number(0.125), "0.13"}, {Number(9.96), "10.0"}, {Number(999.5), "1000"}, {Number(12345), "12.3k"}, {Number(2.5e6), "2.50M"},
		{Number(math.NaN()), None}, {Number(math.Inf(1)), None}, {Rate(0.5), "0.50/s"}, {Rate(math.NaN()), None},
		{Latency(0), None}, {Latency(0.25), "250 µs"}, {Latency(1.2345), "1.23 ms"}, {Latency(12345), "12.3 s"}, {Latency(90000), "1 min"}, {Latency(math.Inf(1)), None},
		{Percent(0), "0 %"}, {Percent(0.00001), "< 0.01 %"}, {Percent(0.0472), "4.72 %"}, {Percent(1), "100 %"}, {Percent(math.NaN()), None},
		{Bytes(999), "999 B"}, {Bytes(12 << 20), "12.0 MiB"}, {Bytes(5e15), "4547 TiB"}, {Bytes(math.NaN()), None},
		{Cores(0.0123), "0.012"}, {Cores(1.5), "1.50"}, {Cores(math.NaN()), None},
		{Span(59.4), "59 s"}, {Span(3599), "59 min"}, {Span(7260), "2 h 1 min"}, {Span(86400), "1 d"}, {Span(100000), "1 d 3 h"},
		{Plural(1, "node"), "1 node"}, {Plural(0, "node"), "0 nodes"},
		{Fixed(0.5, 0), "1"}, {Fixed(2.5, 0), "3"}, {Fixed(-0.125, 2), "-0.13"}, {Fixed(1.005, 2), "1.00"},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
}
