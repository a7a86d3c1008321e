package ui

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"github.com/banyanhq/banyan/ui/layout"
	"github.com/banyanhq/banyan/ui/words"
)

// firstOf is what a page of a system comes with, as its own copy.
func firstOf(t *testing.T, f *fakeSystem) (out first) {
	t.Helper()
	s := newServer(t, f, nil)
	data, err := json.Marshal(first{Hello: s.hello(), Map: s.drawMap()})
	if err == nil {
		err = json.Unmarshal(data, &out)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// hostile is a name that does harm where it is not escaped.
const hostile = `"><img src=x onerror=alert(1)>&amp;'</title></script><b>`

// strange is a system of every kind of node in every state, with names and messages that mean harm.
func strange(t *testing.T) first {
	f := firstOf(t, fakeShop(t))
	f.Hello.Features = Features{Traces: true}
	frame := f.Hello.Frame
	frame.System, frame.UpSeconds, frame.Expected = hostile, 100000, Expectation{Known: true, Bottleneck: hostile, Saturated: true}
	frame.Nodes, frame.Edges = map[string]NodeFigures{}, map[string]Calls{}
	replicas := []string{"ready", "starting", "unready", "draining", "waiting", "stopping"}
	states := []NodeFigures{
		{Health: Idle},
		{Health: OK, Calls: Calls{Rate: 12345, P99: 0.25, InFlight: 3}, Wanted: 6, Ready: 1, Replicas: replicas, Cores: 0.05, Limit: 0.5, Expected: &ExpectedUse{Cores: 0.123}},
		{Health: Warning, Why: hostile, Calls: Calls{Rate: 0.125, P99: 1234.5, Errors: 0.01}, Wanted: 20, Replicas: slices.Repeat(replicas, 4), Cores: 1.9, Limit: 2, Expected: &ExpectedUse{Cores: 9}},
		{Health: Failing, Why: "it fails", Calls: Calls{Rate: 1e6, P99: 90000, Errors: 0.00001}, Wanted: 1, BreakersOpen: 1, Expected: &ExpectedUse{}},
		{Health: Failing, Calls: Calls{Rate: 99.95, Errors: 0.5}, BreakersOpen: 2, Store: &StoreFigures{Store: Store{Waiting: 12345, HitRatio: 0.834, Used: 1 << 30}, In: 2.5}},
	}
	g := layout.Graph{Nodes: []layout.Node{{ID: layout.ClientsID, Kind: layout.Clients, Name: "clients"}, {ID: layout.GatewayID, Kind: layout.Gateway, Name: "gateway"}}}
	frame.Nodes[layout.ClientsID], frame.Nodes[layout.GatewayID] = states[1], states[2]
	for kind := range kindWord {
		for i := range len(states) + 1 { // the last has no figures
			n := layout.Node{ID: fmt.Sprintf("%s.%d", kind, i), Kind: kind, Name: fmt.Sprintf("%s-%d%s", kind, i, strings.Repeat("-long", 5*(i%2)))}
			if kind == layout.Topic && i == 0 {
				n.ID, n.Name = hostile, hostile
			}
			g.Nodes = append(g.Nodes, n)
			g.Edges = append(g.Edges, layout.Edge{From: layout.GatewayID, To: n.ID})
			if i < len(states) {
				frame.Nodes[n.ID], frame.Edges[EdgeKey(layout.GatewayID, n.ID)] = states[i], states[i].Calls
			}
		}
	}
	f.Map.Layout = layout.Compute(g, layout.Pixels())
	return f
}

// painted serves a page by its markup alone (?by=markup), drawn by its script alone (?by=script), or as it is.
func painted(t *testing.T, f first) string {
	t.Helper()
	a, err := newAssets("test", func() first { return f })
	if err != nil {
		t.Fatal(err)
	}
	app := regexp.MustCompile(`(?s)<div id="app">.*</div>\n<script`)
	mux := http.NewServeMux()
	mux.HandleFunc("/v1/stream", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		page := httptest.NewRecorder()
		secure(page.Header())
		a.ServeHTTP(page, r)
		body := page.Body.String()
		switch r.FormValue("by") {
		case "markup":
			body = strings.Replace(body, `<script type="module"`, `<script type="text/none"`, 1)
		case "script":
			body = app.ReplaceAllString(body, "<div id=\"app\"></div>\n<script")
		}
		for k, v := range page.Header() {
			w.Header()[k] = v
		}
		_, _ = w.Write([]byte(body))
	})
	server := httptest.NewServer(mux)
	t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	return server.URL
}

// drawn is what a page consists of, an element a line, its attributes in order.
func (p *tab) drawn(selector string) []string {
	p.t.Helper()
	text, err := chromedp.Run(p.ctx, chromedp.Evaluate[string](fmt.Sprintf(`(() => {
		const write = e => e.nodeType === 3 ? e.data : '\n<' + e.localName + [...e.attributes].map(a => ' ' + a.name + '="' + a.value + '"').sort().join('') + '>' + [...e.childNodes].map(write).join('')
		return [...document.querySelectorAll(%q)].map(write).join('')
	})()`, selector)))
	if err != nil {
		p.t.Fatal(err)
	}
	return strings.Split(text, "\n")
}

// What the server paints and what the script makes of the same figures are the same, element by element, so that there is one way in which
// a node looks; and the script takes over the elements that it finds.
func TestBothDrawTheSame(t *testing.T) {
	broken := fakeShop(t)
	broken.broken = "cart"
	for range 6 {
		broken.tick()
	}
	for name, f := range map[string]first{
		"a broken shop": firstOf(t, broken), "one that begins": firstOf(t, newFake(t, shopSystem(t), 0, time.Now())), "a strange one": strange(t),
	} {
		t.Run(name, func(t *testing.T) {
			base := painted(t, f)
			p := openTab(t, base)
			p.look("dark", 1440, 900)
			// All that is there before the script takes over is marked.
			if _, err := chromedp.Call(p.ctx, cdppage.AddScriptToEvaluateOnNewDocument, cdppage.AddScriptToEvaluateOnNewDocumentParams{
				Source: `addEventListener('DOMContentLoaded', () => document.querySelectorAll('#app *').forEach(e => { e.found = true }))`}); err != nil {
				t.Fatal(err)
			}
			const all = ".skip, header, h1, .tiles, section[aria-label=Map]"
			var want []string
			for _, by := range []string{"script", "markup", "both"} {
				p.open("/?by=" + by)
				p.until(`document.querySelectorAll('.map a.node').length === ` + fmt.Sprint(len(f.Map.Nodes)))
				if by == "both" {
					p.until(`document.querySelector('section[aria-labelledby=latest]')`) // which the script adds
					p.until(`![...document.querySelectorAll('.skip, header, header *, h1, .tiles, .tiles *, .map, .map *')].some(e => !e.found)`)
				}
				got := p.drawn(all)
				if by == "script" {
					want = got
				}
				p.same(by, got, want)
			}
			for _, path := range []string{"/plan", "/log", "/node/web", "/trace/00000000000000000000000000000001"} {
				p.open(path + "?by=script")
				p.until(`document.querySelector('header .live')`)
				want := p.drawn(".skip, header")
				p.open(path + "?by=markup")
				p.same(path, p.drawn(".skip, header"), want)
			}
		})
	}
}

// same compares what a page consists of with what another one does.
func (p *tab) same(what string, got, want []string) {
	p.t.Helper()
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			p.t.Errorf("%s, line %d:\n got %s\nwant %s", what, i, got[i], want[i])
			return
		}
	}
	if len(got) != len(want) || len(want) < 20 {
		p.t.Errorf("%s: %d elements, want %d", what, len(got), len(want))
	}
}

// Figures read the same whether the server or the script writes them.
func TestBothWriteTheSame(t *testing.T) {
	values := []float64{0, 0.5, 1.5, 2.5, 0.125, 0.0125, 0.25, 0.375, 1.25, 12.5, 99.5, 999.5, 1024, 1023.5, 59.5, 60, 3599, 3600, 86399, 86400, 90061, 1e-9}
	for power := 1e-4; power < 1e9; power *= 10 {
		values = append(values, power, power*0.9995, power*0.99949, power*2.5, power*1.005)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		values = append(values, rng.ExpFloat64()*[]float64{0.001, 1, 1000, 1e6}[rng.IntN(4)])
	}
	format, err := web.ReadFile("web/js/format.js")
	if err != nil {
		t.Fatal(err)
	}
	script, err := link(map[string][]byte{"js/format.js": format}, "js/format.js")
	if err != nil {
		t.Fatal(err)
	}
	list, err := json.Marshal(values)
	if err != nil {
		t.Fatal(err)
	}
	p := openTab(t, "about:blank")
	got, err := chromedp.Run(p.ctx, chromedp.Evaluate[[]string](fmt.Sprintf(`(() => {%s
		const f = module$0
		return %s.map(v => [f.number(v), f.rate(v), f.latency(v), f.percent(v), f.bytes(v), f.cores(v), f.span(v), f.plural(Math.round(v), 'node')].join('|'))
	})()`, script, list)))
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range values {
		want := strings.Join([]string{words.Number(v), words.Rate(v), words.Latency(v), words.Percent(v), words.Bytes(v), words.Cores(v), words.Span(v), words.Plural(int(v+0.5), "node")}, "|")
		if got[i] != want {
			t.Errorf("%v: the script writes %s, the server %s", v, got[i], want)
		}
	}
}

// The theme that was chosen is the page's from the first moment; a cookie that says anything else is nothing to it.
func TestTheChosenTheme(t *testing.T) {
	s := newServer(t, fakeShop(t), nil)
	for cookie, want := range map[string]string{"dark": `data-theme="dark"`, "light": `data-theme="light"`, "purple": `data-theme=""`, `"><script>`: `data-theme=""`, "": `data-theme=""`} {
		page := ask(s, "GET", "/", "", func(r *http.Request) { r.Header.Set("Cookie", "banyan-theme="+cookie) }).Body.String()
		if !strings.Contains(page, want) {
			t.Errorf("%q: %.80s", cookie, page)
		}
	}
}
