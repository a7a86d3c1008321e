package topview

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/banyanhq/banyan/observe"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := "testdata/" + name
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (rewrite with -update); got:\n%s", path, got)
	}
}

func call(route, from, to string, perSecond float64, p50 time.Duration, errors float64) observe.CallStatus {
	c := observe.CallStatus{Route: route, From: from, To: to, Rate: perSecond, Errors: errors, InFlight: int64(perSecond / 50),
		ByCode:  map[int]int64{200: int64(perSecond * 10)},
		Latency: observe.LatencyStatus{Count: int64(perSecond * 10), Mean: p50 * 5 / 4, P50: p50, P90: 3 * p50, P95: 4 * p50, P99: 7 * p50, Max: 20 * p50}}
	if errors > 0 {
		c.ByCode[503] = int64(perSecond * 10 * errors)
	}
	for i := range observe.TrendLength {
		wave := 1 + 0.5*math.Sin(float64(i)/7+perSecond)
		c.Trend.Rate = append(c.Trend.Rate, perSecond*wave)
		c.Trend.P99 = append(c.Trend.P99, time.Duration(float64(7*p50)*wave*wave))
	}
	return c
}

// shop is a shop in which one thing of each kind goes wrong.
func shop() observe.Status {
	ms, mib := time.Millisecond, int64(1<<20)
	service := func(name string, wanted, ready int, c observe.CallStatus, coresEach float64) observe.ServiceStatus {
		s := observe.ServiceStatus{Service: name, Wanted: wanted, Ready: ready, CallStatus: c}
		for i := range wanted {
			s.Replicas = append(s.Replicas, observe.ReplicaStatus{
				ReplicaState: observe.ReplicaState{Replica: fmt.Sprintf("%s-%d", name, i+1), State: observe.StateReady, CPULimit: 0.5, MemoryLimit: 128 * mib},
				Address:      fmt.Sprintf("127.0.0.1:4%03d", i), Breaker: observe.BreakerClosed, Healthy: true, Rate: c.Rate / float64(max(ready, 1)),
				Latency:   observe.LatencyStatus{P50: c.Latency.P50, P99: c.Latency.P99},
				UseStatus: observe.UseStatus{Cores: coresEach, Memory: 40 * mib}})
			s.Cores += coresEach
			s.Memory += 40 * mib
			s.Breakers.Closed++
		}
		return s
	}
	st := observe.Status{System: "shop", At: time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC), Up: 3725 * time.Second, Window: 10 * time.Second,
		Machine: observe.MachineStatus{Cores: 2, Busy: 1.37, MemoryUsed: 1300 * mib, MemoryTotal: 4096 * mib, Load1: 1.21},
		Gateway: observe.UseStatus{Cores: 0.31, Memory: 47 * mib},
		Total:   call("", "", "", 431, 4200*time.Microsecond, 0.0021),
		Services: []observe.ServiceStatus{
			service("cart", 2, 2, call("", "", "cart", 61, 900*time.Microsecond, 0), 0.04),
			service("catalog", 3, 2, call("", "", "catalog", 388, 1400*time.Microsecond, 0), 0.21),
			service("orders", 1, 1, call("", "", "orders", 43, 6*ms, 0.012), 0.47),
			service("payments", 1, 0, call("", "", "payments", 4, 31*ms, 0.34), 0.01),
			service("web", 2, 2, call("", "", "web", 431, 4200*time.Microsecond, 0.0021), 0.22)},
		Routes: []observe.CallStatus{
			call("GET /", "", "", 301, 3*ms, 0), call("GET /search", "", "", 87, 9*ms, 0.00002), call("POST /checkout", "", "", 43, 41*ms, 0.021)},
		Edges: []observe.CallStatus{
			call("", "", "web", 431, 4200*time.Microsecond, 0.0021), call("", "orders", "payments", 4, 31*ms, 0.34),
			call("", "web", "cart", 61, 900*time.Microsecond, 0), call("", "web", "catalog", 388, 1400*time.Microsecond, 0),
			call("", "web", "orders", 43, 6*ms, 0.012)}}
	late := &st.Services[1].Replicas[2]
	late.State, late.Healthy, late.Restarts, late.Rate, late.Latency = "starting", false, 2, 0, observe.LatencyStatus{}
	late.Breaker = observe.BreakerHalfOpen
	st.Services[1].Breakers = observe.BreakerStatus{Closed: 2, HalfOpen: 1}
	st.Services[1].Message = "catalog-3 is starting again after exit status 2"
	down := &st.Services[3].Replicas[0]
	down.State, down.Breaker, down.Restarts, down.Healthy = "crash-loop", observe.BreakerOpen, 7, false
	st.Services[3].Breakers = observe.BreakerStatus{Open: 1}
	st.Services[3].Message = "crash-looping: exit status 1 (7 restarts)"
	st.Services[2].Replicas[0].Throttled = 0.18
	return st
}

func key(k string) tea.KeyPressMsg {
	codes := map[string]rune{"up": tea.KeyUp, "down": tea.KeyDown, "left": tea.KeyLeft, "right": tea.KeyRight, "enter": tea.KeyEnter,
		"tab": tea.KeyTab, "end": tea.KeyEnd, "home": tea.KeyHome, "pgdown": tea.KeyPgDown}
	if c, ok := codes[k]; ok {
		return tea.KeyPressMsg{Code: c}
	}
	return tea.KeyPressMsg{Code: rune(k[0]), Text: k}
}

// after returns a view of width x height that has seen the messages: keys by name, statuses, errors.
func after(t *testing.T, width, height int, msgs ...any) Model {
	t.Helper()
	var m tea.Model = New(func(context.Context) (observe.Status, error) { return observe.Status{}, nil }, time.Second)
	m, _ = m.Update(tea.WindowSizeMsg{Width: width, Height: height})
	for _, msg := range msgs {
		switch msg := msg.(type) {
		case string:
			m, _ = m.Update(key(msg))
		case observe.Status:
			m, _ = m.Update(fetchedMsg{status: msg})
		case error:
			m, _ = m.Update(fetchedMsg{err: msg})
		default:
			m, _ = m.Update(msg)
		}
	}
	return m.(Model)
}

// trimmed returns a screen without escape sequences and without the blanks at the ends of its lines.
func trimmed(screen string) string {
	var b strings.Builder
	for _, l := range strings.Split(ansi.Strip(screen), "\n") {
		b.WriteString(strings.TrimRight(l, " ") + "\n")
	}
	return b.String()
}

func checkSize(t *testing.T, screen string, width, height int) {
	t.Helper()
	lines := strings.Split(screen, "\n")
	if len(lines) != height {
		t.Errorf("%dx%d: %d lines", width, height, len(lines))
	}
	for i, l := range lines {
		if w := ansi.StringWidth(l); w > width {
			t.Errorf("%dx%d: line %d has %d cells: %q", width, height, i, w, ansi.Strip(l))
		}
	}
}

func TestScreens(t *testing.T) {
	gone := errors.New("dial unix .banyan/control.sock: connect: connection refused")
	for name, msgs := range map[string][]any{
		"waiting":      {},
		"unreachable":  {gone},
		"services":     {shop()},
		"expanded":     {shop(), "down", "enter", "down", "down", "down"},
		"crashed":      {shop(), "down", "down", "down"},
		"sorted":       {shop(), "s", "s"},
		"routes":       {shop(), "tab", "end"},
		"edges":        {shop(), "tab", "tab", "s", "s", "s"},
		"stopped":      {shop(), gone, gone},
		"empty-system": {observe.Status{System: "shop"}},
	} {
		for _, size := range []struct{ w, h int }{{80, 24}, {140, 40}} {
			m := after(t, size.w, size.h, msgs...)
			screen := m.screen()
			checkSize(t, screen, size.w, size.h)
			golden(t, fmt.Sprintf("%s-%dx%d.txt", name, size.w, size.h), trimmed(screen))
		}
	}
}

// TestColours keeps one screen with its escape sequences, for a change of colours is a change of behaviour too.
func TestColours(t *testing.T) {
	m := after(t, 100, 24, shop(), "down")
	golden(t, "colours.ansi", m.screen()+"\n")
}

func TestTable(t *testing.T) {
	table := RenderTable(shop())
	golden(t, "table.txt", table)
	if table != ansi.Strip(table) {
		t.Error("escape sequences in the plain table")
	}
	golden(t, "table-empty.txt", RenderTable(observe.Status{System: "shop"}))
}

// TestAnySizeFits draws every pane at every size, with all replicas shown.
func TestAnySizeFits(t *testing.T) {
	for w := 1; w < 200; w += 9 {
		for h := 1; h < 50; h += 4 {
			for _, p := range []string{"1", "2", "3"} {
				m := after(t, w, h, shop(), "e", p, "end")
				screen := m.screen()
				if w < leastWidth || h < above+leastRoom {
					h := 1
					checkSize(t, screen, w, h)
				} else {
					checkSize(t, screen, w, h)
				}
			}
		}
	}
}

func TestSelectionStaysWithItsRow(t *testing.T) {
	m := after(t, 80, 24, shop(), "down", "down") // orders
	if m.selected[services] != "service orders" {
		t.Fatalf("selected %q", m.selected[services])
	}
	m = after(t, 80, 24, shop(), "down", "down", "s", "s", "s")
	if m.selected[services] != "service orders" || m.order != byErrors {
		t.Errorf("after sorting: selected %q by %v", m.selected[services], m.order)
	}
	less := shop()
	less.Services = append(less.Services[:2:2], less.Services[3:]...)
	m = after(t, 80, 24, shop(), "down", "down", less)
	if m.selected[services] != "service payments" {
		t.Errorf("after it was gone: selected %q", m.selected[services])
	}
	m = after(t, 80, 24, shop(), "end", "enter", "down", "down", "left")
	if m.selected[services] != "service web" || m.expanded["web"] {
		t.Errorf("after folding: selected %q", m.selected[services])
	}
	m = after(t, 80, 24, shop(), "end", observe.Status{})
	if m.screen() == "" {
		t.Error("nothing drawn")
	}
}

func TestScrollingFollowsTheSelection(t *testing.T) {
	st := shop()
	for i := range 50 {
		st.Services = append(st.Services, observe.ServiceStatus{Service: fmt.Sprintf("zzz-%02d", i)})
	}
	m := after(t, 80, 24, st, "end")
	if s := m.screen(); !strings.Contains(ansi.Strip(s), "❯ ▸ zzz-49") {
		t.Errorf("the last row is not in sight:\n%s", ansi.Strip(s))
	}
	m = after(t, 80, 24, st, "end", "home")
	if s := m.screen(); !strings.Contains(ansi.Strip(s), "❯ ▸ cart") {
		t.Errorf("the first row is not in sight:\n%s", ansi.Strip(s))
	}
	m = after(t, 80, 24, st, "end", tea.WindowSizeMsg{Width: 80, Height: 14})
	if s := m.screen(); !strings.Contains(ansi.Strip(s), "❯ ▸ zzz-49") {
		t.Errorf("after the terminal shrank:\n%s", ansi.Strip(s))
	}
}

func TestStandingStill(t *testing.T) {
	m := after(t, 80, 24, shop(), shop(), shop(), shop())
	if m.trouble() == "" {
		t.Error("four times the same sample is no trouble")
	}
	next := shop()
	next.At = next.At.Add(time.Second)
	if m := after(t, 80, 24, shop(), shop(), shop(), shop(), next); m.trouble() != "" {
		t.Errorf("trouble after a new sample: %s", m.trouble())
	}
	if m := after(t, 80, 24, errors.New("x"), shop()); m.trouble() != "" {
		t.Errorf("trouble after an answer: %s", m.trouble())
	}
}

func TestFetchLoop(t *testing.T) {
	n := 0
	m := New(func(ctx context.Context) (observe.Status, error) {
		if _, ok := ctx.Deadline(); !ok {
			t.Error("a fetch without a deadline")
		}
		n++
		return shop(), nil
	}, time.Minute)
	next, cmd := m.Update(m.Init()())
	if n != 1 || cmd == nil || !next.(Model).fetched {
		t.Fatalf("%d fetches at the start", n)
	}
	_, cmd = next.Update(fetchMsg{})
	if _, ok := cmd().(fetchedMsg); !ok || n != 2 {
		t.Errorf("%d fetches after a tick", n)
	}
}

func TestQuit(t *testing.T) {
	m := New(nil, 0)
	_, cmd := m.Update(key("q"))
	if cmd == nil {
		t.Fatal("q does not quit")
	}
	if _, ok := cmd().(tea.QuitMsg); !ok {
		t.Error("q does not quit")
	}
}

// TestHostileNames checks that names cannot send escape sequences to the terminal or break lines.
func TestHostileNames(t *testing.T) {
	st := shop()
	st.System, st.Services[0].Service, st.Services[0].Message = "a\x1b]0;owned\x07b", "c\x1b[2Jd\ne", "x\r\ny\x9b31m"
	st.Routes[0].Route = strings.Repeat("wide 寬 ", 40)
	for _, p := range []string{"1", "2", "3"} {
		m := after(t, 80, 24, st, p)
		s := m.screen()
		checkSize(t, s, 80, 24)
		if strings.Contains(s, "\x1b]") || strings.Contains(s, "[2J") || strings.ContainsAny(s, "\r\x07\u009b") {
			t.Errorf("hostile: %q", s)
		}
	}
	if s := RenderTable(st); strings.ContainsAny(s, "\x1b\r\x07\u009b") {
		t.Errorf("hostile: %q", s)
	}
}

func TestFigures(t *testing.T) {
	for want, got := range map[string]string{
		"0": rate(0), "<0.1": rate(0.01), "0.5": rate(0.5), "10": rate(9.96), "431": rate(431), "9999": rate(9999), "12k": rate(12345), "1.2M": rate(1.23e6),
		"–": latency(0), "1µs": latency(1200), "999µs": latency(999 * time.Microsecond), "1.0ms": latency(time.Millisecond - 1), "9.9ms": latency(9940 * time.Microsecond),
		"10ms": latency(9960 * time.Microsecond), "999ms": latency(999 * time.Millisecond), "1.00s": latency(time.Second - 1), "12s": latency(12 * time.Second),
		"100m": latency(100 * time.Minute), "0%": percent(0), "<0.1%": percent(0.0001), "0.1%": percent(0.001), "9.9%": percent(0.0994), "10%": percent(0.0996),
		"100%": percent(1), "0.47": cores(0.47), "12.0": cores(12), "1 KiB": size(1), "1 MiB": size(1 << 20), "1.5 GiB": size(3 << 29), "200 GiB": size(200 << 30),
		"59s": elapsed(59 * time.Second), "1m 00s": elapsed(time.Minute), "1h 02m": elapsed(3725 * time.Second), "2d 03h": elapsed(51 * time.Hour),
		"  ▁▄█": sparkline([]float64{0, 0, 1, 4, 8}, 5, 5), "    █": sparkline([]float64{1}, 5, 5), "▁█": sparkline([]float64{1, 1, 4, 8, 0, 1}[:4], 2, 4),
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
