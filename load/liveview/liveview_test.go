package liveview

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"

	"github.com/banyanhq/banyan/load"
	"github.com/banyanhq/banyan/stats"
)

var update = flag.Bool("update", false, "write the golden files anew")

// story is a run of length seconds at a server that is slow in the middle; what is special about each second is up to
// change.
func story(seconds, length int, change func(second int, p *load.Progress)) *View {
	v := &View{}
	rng := rand.New(rand.NewPCG(1, 2))
	sent, failed := int64(0), int64(0)
	for i := 1; i <= seconds; i++ {
		h := stats.NewHistogram(2)
		scale := 1e6
		if i > seconds/3 && i < seconds/2 {
			scale = 20e6
		}
		for range 1000 {
			h.Record(int64(scale * (0.3 + rng.ExpFloat64())))
		}
		sent += 1000
		p := load.Progress{Target: "http://127.0.0.1:8080", Schedule: "Poisson at 1,000/s", Elapsed: time.Duration(i) * time.Second, Length: time.Duration(length) * time.Second,
			Offered: 1000, Sent: 1000, Completed: 1000, Recent: h, P50: h.QuantileDuration(0.5), P90: h.QuantileDuration(0.9), P99: h.QuantileDuration(0.99), Max: time.Duration(h.Max()),
			InFlight: 12, Connections: 14, TotalSent: sent, CPU: 0.25, Cores: 2}
		if change != nil {
			change(i, &p)
		}
		failed += int64(p.Failed)
		p.TotalFailed = failed
		v.Add(p)
	}
	return v
}

func TestFrames(t *testing.T) {
	failing := func(i int, p *load.Progress) {
		if i > 10 {
			p.Completed, p.Failed = 700, 300
			p.Errors = map[load.Kind]int64{load.Timeout: 1200, load.BadStatus: 3000, load.Reset: 7}
			p.NotSent = 42
		}
	}
	drowning := func(i int, p *load.Progress) {
		p.CPU, p.Behind, p.Waiting = 1.95, 1500, 20
	}
	for _, x := range []struct {
		name          string
		view          *View
		width, height int
	}{
		{"start", story(1, 60, nil), 79, 23},
		{"middle", story(30, 60, nil), 79, 23},
		{"errors", story(30, 60, failing), 79, 23},
		{"generator", story(30, 60, drowning), 79, 23},
		{"long", story(1000, 7200, nil), 79, 23},
		{"wide", story(30, 60, failing), 200, 60},
		{"low", story(30, 60, failing), 79, 10},
		{"narrow", story(30, 60, failing), 24, 23},
		{"warm-up", story(3, 60, func(_ int, p *load.Progress) { p.Warming = true }), 79, 23},
		{"users", story(30, 60, func(_ int, p *load.Progress) { p.Offered, p.Schedule = 0, "50 users who think 1s" }), 79, 23},
		{"silent target", story(30, 60, func(_ int, p *load.Progress) { p.Recent, p.Completed = nil, 0 }), 79, 23},
		{"end", story(61, 60, nil), 79, 23},
	} {
		t.Run(x.name, func(t *testing.T) {
			lines := x.view.Frame(x.width, x.height)
			if len(lines) > x.height {
				t.Errorf("%d lines, want %d at most", len(lines), x.height)
			}
			for _, l := range lines {
				if w := ansi.StringWidth(l); w > x.width {
					t.Errorf("%d cells, want %d at most: %s", w, x.width, l)
				}
			}
			got := strings.Join(lines, "\n") + "\n---\n" + x.view.Line() + "\n"
			path := filepath.Join("testdata", strings.ReplaceAll(x.name, " ", "-")+".txt")
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// Colours repeat what the signs say: without them the picture is the same.
func TestColoursSayNothingNew(t *testing.T) {
	plain := story(30, 60, nil)
	coloured := *plain
	coloured.Colour = true
	a, b := plain.Frame(79, 23), coloured.Frame(79, 23)
	if text := strings.Join(b, "\n"); ansi.Strip(text) != strings.Join(a, "\n") || !strings.Contains(text, "\x1b[32m") {
		t.Errorf("%s", text)
	}
}

// Every size can be drawn.
func TestEverySize(t *testing.T) {
	v := story(300, 600, func(_ int, p *load.Progress) { p.Errors = map[load.Kind]int64{load.Timeout: 1}; p.Behind = 900 })
	for width := 0; width < 130; width += 9 {
		for height := 0; height < 27; height += 2 {
			lines := v.Frame(width, height)
			if len(lines) > height {
				t.Fatalf("%d x %d: %d lines", width, height, len(lines))
			}
			for _, l := range lines {
				if ansi.StringWidth(l) > width {
					t.Fatalf("%d x %d: %q", width, height, l)
				}
			}
		}
	}
	if lines := (&View{}).Frame(80, 24); lines != nil {
		t.Errorf("nothing was seen: %q", lines)
	}
}

// terminal is as much of one as Screen needs.
type terminal struct {
	rows     [][]rune
	row, col int
}

func (s *terminal) Write(p []byte) (int, error) {
	text := []rune(string(p))
	for i := 0; i < len(text); i++ {
		for s.row >= len(s.rows) {
			s.rows = append(s.rows, nil)
		}
		switch r := text[i]; r {
		case '\r':
			s.col = 0
		case '\n':
			s.row++
		case '\x1b':
			j := i + 2
			for text[j] < '@' {
				j++
			}
			n := 1
			fmt.Sscanf(string(text[i+2:j]), "%d", &n)
			switch text[j] {
			case 'A':
				s.row -= n
			case 'H':
				s.row, s.col = 0, 0
			case 'K', 'J':
				s.rows[s.row] = s.rows[s.row][:min(s.col, len(s.rows[s.row]))]
				if text[j] == 'J' {
					s.rows = s.rows[:s.row+1]
				}
			case 'h', 'l':
			default:
				panic(fmt.Sprintf("sequence %q", string(text[i:j+1])))
			}
			i = j
		default:
			for s.col >= len(s.rows[s.row]) {
				s.rows[s.row] = append(s.rows[s.row], ' ')
			}
			s.rows[s.row][s.col] = r
			s.col++
		}
	}
	return len(p), nil
}

func (s *terminal) String() string {
	var lines []string
	for _, r := range s.rows {
		lines = append(lines, string(r))
	}
	return strings.Join(lines, "\n")
}

func TestScreen(t *testing.T) {
	term := &terminal{}
	fmt.Fprint(term, "$ banyan load\r\n")
	s := NewScreen(term)
	for _, x := range []struct {
		lines  []string
		width  int
		expect string
	}{
		{[]string{"one", "two", "three"}, 80, "$ banyan load\none\ntwo\nthree"},
		{[]string{"1", "2", "3", "4"}, 80, "$ banyan load\n1\n2\n3\n4"},
		{[]string{"fewer"}, 80, "$ banyan load\nfewer"},
		{[]string{"a", "b"}, 40, "a\nb"}, // another size: nobody knows what is where
	} {
		s.Draw(x.lines, x.width, 24)
		if got := term.String(); got != x.expect {
			t.Errorf("%q: got\n%s\nwant\n%s", x.lines, got, x.expect)
		}
	}
	s.Clear()
	s.Clear()
	if got := term.String(); strings.TrimSpace(got) != "" || term.row != 0 || term.col != 0 {
		t.Errorf("cleared: %q, at %d %d", got, term.row, term.col)
	}
}
