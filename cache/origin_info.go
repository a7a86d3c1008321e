package cache

import (
	"fmt"
	"strings"
)

// infoOrigins tells INFO what was asked of the origins.
func (s *Server) infoOrigins(b *strings.Builder) {
	for i, o := range s.origins {
		state := "off"
		if o.breaker != nil {
			state = o.breaker.State().String()
		}
		fmt.Fprintf(b, "origin%d:keys=%s,loads=%d,failures=%d,refused=%d,refreshes=%d,writes=%d,behind=%d,lost=%d,under_way=%d,load_us=%d,breaker=%s\r\n", i, o.Keys, o.loads,
			o.failures, o.refused, o.refreshes, o.writes, o.behind, o.lost, o.admitted, o.took.Microseconds(), state)
	}
}
