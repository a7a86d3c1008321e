package gateway

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

const (
	aTrace  = "0af7651916cd43dd8448eb211c80319c"
	aParent = "00-" + aTrace + "-b7ad6b7169203331-01"
)

func TestTraceparent(t *testing.T) {
	zero16 := strings.Repeat("0", 16)
	for s, ok := range map[string]bool{
		aParent:                                                  true,
		"00-" + aTrace + "-b7ad6b7169203331-00":                  true,
		"cc-" + aTrace + "-b7ad6b7169203331-01":                  true,
		"cc-" + aTrace + "-b7ad6b7169203331-01-new":              true,
		"cc-" + aTrace + "-b7ad6b7169203331-01new":               false,
		"ff-" + aTrace + "-b7ad6b7169203331-01":                  false,
		aParent + "-":                                            false,
		"00-" + zero16 + zero16 + "-b7ad6b7169203331-01":         false,
		"00-" + aTrace + "-" + zero16 + "-01":                    false,
		"00-" + strings.ToUpper(aTrace) + "-b7ad6b7169203331-01": false,
		"00_" + aTrace + "-b7ad6b7169203331-01":                  false,
		"00-" + aTrace + "-b7ad6b716920333g-01":                  false,
		"00-" + aTrace + "-b7ad6b7169203331-0x":                  false,
		"":                                                       false, "00": false,
	} {
		id, flags, got := parseTraceparent(s)
		if got != ok {
			t.Errorf("%q: %v, want %v", s, got, ok)
		}
		if again := traceparent(id, flags); ok && (again[3:35] != aTrace || again[53:] != s[53:55] || again[36:52] == s[36:52]) {
			t.Errorf("%q became %q", s, again)
		}
	}
}

func FuzzTraceparent(f *testing.F) {
	f.Add(aParent)
	f.Fuzz(func(t *testing.T, s string) {
		id, flags, ok := parseTraceparent(s)
		if !ok {
			return
		}
		again, flags2, ok := parseTraceparent(traceparent(id, flags))
		if !ok || again != id || flags2 != flags {
			t.Errorf("%q does not survive: %x %x", s, again, flags2)
		}
	})
}

func TestTraceIsContinuedOrBegun(t *testing.T) {
	r := start(t, Config{})
	for _, c := range []struct {
		name    string
		parents []string
		kept    bool
	}{
		{"valid", []string{aParent}, true}, {"none", nil, false}, {"bad", []string{"00-x"}, false}, {"two", []string{aParent, aParent}, false},
	} {
		req := r.request("GET", "/", nil)
		req.Header["Traceparent"] = c.parents
		req.Header.Set("Tracestate", "vendor=1")
		got, _ := seen(r, "web", req)
		id, flags, ok := parseTraceparent(got.Header.Get("Traceparent"))
		if !ok || flags != 1 || len(got.Header["Traceparent"]) != 1 {
			t.Fatalf("%s: backend got %q", c.name, got.Header["Traceparent"])
		}
		want, _, _ := parseTraceparent(aParent)
		if (id == want) != c.kept || (got.Header.Get("Tracestate") != "") != c.kept || got.Header.Get("Traceparent") == aParent {
			t.Errorf("%s: backend got %q, state %q", c.name, got.Header["Traceparent"], got.Header.Get("Tracestate"))
		}
	}
}

func TestInnerCallsAreAttributed(t *testing.T) {
	r := start(t, Config{})
	edge := r.EdgeURL("web", "catalog")
	r.serve("catalog", text("item"))
	r.serve("web", func(w http.ResponseWriter, req *http.Request) {
		for range 3 {
			inner := r.request("GET", edge+"/item", nil)
			inner.Header.Set("Traceparent", req.Header.Get("Traceparent"))
			r.do(inner)
		}
		io.WriteString(w, "page")
	})
	for range 5 {
		r.get("/")
	}
	r.do(r.request("GET", edge+"/", nil))    // without a trace
	stray := r.request("GET", edge+"/", nil) // of a trace that is not in flight
	stray.Header.Set("Traceparent", aParent)
	r.do(stray)
	// The answer reaches the client a moment before the call is counted.
	until(t, "all counted", func() bool { return r.Stats().Edges[0].Requests == 17 })
	s := r.Stats()
	if len(s.Calls) != 2 {
		t.Fatalf("calls: %+v", s.Calls)
	}
	for i, want := range []CallStats{{Route: "", Count: 2}, {Route: "home", Count: 15}} {
		c := s.Calls[i]
		if c.Route != want.Route || c.Count != want.Count || c.From != "web" || c.To != "catalog" || c.Sum <= 0 || c.SumSquares <= 0 {
			t.Errorf("got %+v, want %+v", c, want)
		}
	}
	r.settle()
	for i := range r.traces.shards {
		if n := len(r.traces.shards[i].m); n != 0 {
			t.Errorf("%d traces left over", n)
		}
	}
}

func TestTracesOfTheSameID(t *testing.T) {
	var m inFlightTraces
	id := newTraceID()
	if m.route(id) != -1 {
		t.Error("an unknown trace has a route")
	}
	m.enter(id, traceEntry{route: 1})
	m.enter(id, traceEntry{route: 2})
	if m.route(id) != 2 {
		t.Error("the later request does not win")
	}
	m.leave(id)
	if m.route(id) != 2 {
		t.Error("forgotten while one is in flight")
	}
	m.leave(id)
	if m.route(id) != -1 {
		t.Error("remembered for ever")
	}
}

func TestTracesAreBounded(t *testing.T) {
	var m inFlightTraces
	in := 0
	for range 2 * tracesPerShard {
		id := newTraceID()
		id[7] = 0
		if m.enter(id, traceEntry{route: 0}) {
			in++
		}
	}
	if in != tracesPerShard {
		t.Errorf("%d traces in one shard", in)
	}
}
