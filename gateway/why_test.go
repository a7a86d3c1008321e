package gateway

import (
	"fmt"
	"net/http"
	"testing"
	"time"
)

func TestWhyTellsOfEachTry(t *testing.T) {
	r := start(t, Config{})
	dead := r.ready("catalog", refusing())
	alive := r.serve("catalog", text("catalog"))
	var d Decision
	until(t, "a request is retried", func() bool {
		a := r.get("/api/x?y=1")
		var ok bool
		d, ok = r.Why(a.header.Get("X-Request-Id"))
		return ok && d.Attempts == 2
	})
	if d.Status != 200 || d.Route != "api" || d.Service != "catalog" || d.Method != "GET" || d.Path != "/api/x" || time.Since(d.Time) > time.Minute {
		t.Errorf("the request: %+v", d)
	}
	if len(d.Tries) == 1 { // the first try was not chosen to be told of
		d.Tries = append([]TryDecision{{Backend: dead, Verdict: "repeat"}}, d.Tries...)
	}
	if len(d.Tries) != 2 || d.Tries[0].Backend != dead || d.Tries[0].Verdict != "repeat" || d.Tries[1].Backend != alive {
		t.Fatalf("the tries: %+v", d.Tries)
	}
	if b := d.Tries[0].Budget; b != nil && (b.Spent < 1 || b.Allowed < 0) {
		t.Errorf("the budget of the first try: %+v", b)
	}
	for _, s := range r.Stats().Services {
		if want := s.Service == "catalog"; (s.Verdicts["repeat"] > 0) != want || (s.RetriesSpent > 0) != want {
			t.Errorf("what was decided: %+v", s)
		}
	}
	second := d.Tries[1]
	if second.All != 2 || len(second.Candidates) != 2 || second.Balance != "least-request" || second.After <= 0 {
		t.Fatalf("the second try: %+v", second)
	}
	for _, c := range second.Candidates {
		if want := map[string]string{dead: "tried", alive: "usable"}[c.Backend]; c.State != want || c.Score == nil || c.Address == "" {
			t.Errorf("candidate: %+v, want state %s", c, want)
		}
	}
	if _, ok := r.Why("nobody-asked-this"); ok {
		t.Error("an unknown id is known")
	}
}

func TestWhyTellsOfRefusals(t *testing.T) {
	r := start(t, Config{Wait: -1})
	a := r.get("/api/x")
	d, ok := r.Why(a.header.Get("X-Request-Id"))
	if !ok || d.Status != 503 || d.Error != "destination_unavailable" || d.Detail == "" {
		t.Errorf("got %+v, %v", d, ok)
	}
	if byTrace, ok := r.Why(d.TraceID); !ok || byTrace.RequestID != d.RequestID {
		t.Errorf("by its trace id: %+v, %v", byTrace, ok)
	}
	sys := shop()
	sys.Routes = sys.Routes[1:]
	r.reload(sys)
	a = r.get("/nowhere")
	if d, ok := r.Why(a.header.Get("X-Request-Id")); !ok || d.Status != 404 || d.Route != "" || len(d.Tries) != 0 {
		t.Errorf("without a route: %+v, %v", d, ok)
	}
}

func TestMemoryKeepsWhatWentWrong(t *testing.T) {
	m := newMemory()
	bad := &story{id: "bad", status: http.StatusBadGateway, target: &target{}}
	m.keep(bad)
	for i := range 3 * whyOrdinary {
		m.keep(&story{id: fmt.Sprint(i), status: 200})
	}
	if got := m.notable.newest(func(s *story) bool { return s.id == "bad" }); got != bad {
		t.Error("requests that went well have pushed out one that did not")
	}
	last := fmt.Sprint(3*whyOrdinary - 1)
	if got := m.ordinary.newest(func(*story) bool { return true }); got.id != last {
		t.Errorf("the newest is %s, want %s", got.id, last)
	}
	if n := len(m.ordinary.all); n != whyOrdinary {
		t.Errorf("%d are kept", n)
	}
}

func TestWhyCostsABusyGatewayLittle(t *testing.T) {
	m := newMemory()
	n := 0
	for i := range 100_000 { // 100,000 requests a second
		if m.chooses(time.Duration(i) * 10 * time.Microsecond) {
			n++
		}
	}
	if n != 5000 {
		t.Errorf("%d of 100,000 requests are told, want 5,000", n)
	}
}
