package main

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// maker makes lines as services write them.
type maker struct {
	r        *rand.Rand
	messages []string
	paths    []string
}

func newMaker(seed uint64) *maker {
	m := &maker{r: rand.New(rand.NewPCG(seed, 1))}
	words := strings.Fields("request served cache miss order placed payment accepted retrying connection upstream timed out queue drained worker started job finished user session expired token refreshed index rebuilt snapshot written")
	for range 50 {
		n := 3 + m.r.IntN(5)
		var text []string
		for range n {
			text = append(text, words[m.r.IntN(len(words))])
		}
		m.messages = append(m.messages, strings.Join(text, " "))
	}
	for i := range 200 {
		m.paths = append(m.paths, fmt.Sprintf("/api/v1/%s/%d", words[m.r.IntN(len(words))], i))
	}
	return m
}

var levels = []string{"info", "info", "info", "info", "info", "info", "debug", "debug", "warn", "error"}

// line makes the next line, of an instant.
func (m *maker) line(at time.Time) string {
	level, message, path := levels[m.r.IntN(len(levels))], m.messages[m.r.IntN(len(m.messages))], m.paths[m.r.IntN(len(m.paths))]
	stamp := at.UTC().Format("2006-01-02T15:04:05.000Z")
	switch m.r.IntN(3) {
	case 0:
		return fmt.Sprintf(`{"time":"%s","level":"%s","msg":"%s","trace_id":"%016x%016x","user":%d,"path":"%s","status":%d,"took_ms":%.2f,"bytes":%d}`,
			stamp, level, message, m.r.Uint64(), m.r.Uint64(), m.r.IntN(100000), path, 200+100*m.r.IntN(4), m.r.ExpFloat64()*20, m.r.IntN(100000))
	case 1:
		return fmt.Sprintf(`time=%s level=%s msg="%s" trace_id=%016x%016x user=%d path=%s status=%d took=%.2fms attempt=%d`,
			stamp, strings.ToUpper(level), message, m.r.Uint64(), m.r.Uint64(), m.r.IntN(100000), path, 200+100*m.r.IntN(4), m.r.ExpFloat64()*20, m.r.IntN(3))
	}
	return fmt.Sprintf(`10.%d.%d.%d - - [%s] "GET %s?id=%08x HTTP/1.1" %d %d "https://shop.example/%s" "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0 Safari/537.36" rt=%.3f`,
		m.r.IntN(256), m.r.IntN(256), m.r.IntN(256), at.UTC().Format("02/Jan/2006:15:04:05 -0700"), path, m.r.Uint32(), 200+100*m.r.IntN(4), m.r.IntN(100000), path[8:], m.r.ExpFloat64()*0.1)
}
