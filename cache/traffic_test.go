package cache

import (
	"fmt"
	"strings"
	"testing"
)

func TestTrafficCommands(t *testing.T) {
	s := startServer(t, Config{Memory: 32 << 20})
	script(t, s.Addr().String(), `
		a: cache.hot
		> []
		a: cache.curve
		> []
		a: cache.hot none
		> -ERR value is not an integer or out of range
		a: cache.hot 0
		> -ERR count: want 1 to 256
		a: cache.hot 1 2
		> -ERR syntax error
		a: cache.curve 1
		> -ERR wrong number of arguments for 'cache.curve' command
	`)
	c := dial(t, s.Addr().String())
	var many strings.Builder
	const n = 100_000
	for i := range n {
		fmt.Fprintf(&many, "GET k%d\r\nSET k%d v\r\n", i%7000*i%7000, i%7000)
	}
	go fmt.Fprint(c, many.String())
	for range 2 * n {
		c.read()
	}
	fmt.Fprint(c, "CACHE.CURVE\r\n")
	if curve := c.read(); !strings.HasPrefix(curve, "[[8388608 ") {
		t.Errorf("curve %s", curve)
	}
	fmt.Fprint(c, "CACHE.HOT 3\r\n")
	if hot := c.read(); !strings.HasPrefix(hot, `[[0 "k`) {
		t.Errorf("hot keys %s", hot)
	}
}
