package load

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/banyanhq/banyan/topology"
)

func testValues() *values {
	return &values{user: 7, iteration: 3, rng: rand.New(rand.NewPCG(1, 1)), vars: []value{
		{text: []byte("a b/c?d&e=\"f\"\r\n\x01ü"), set: true}, // odd
		{text: []byte("42"), raw: true, set: true},            // num
		{}, // none
	}}
}

func testScope() *scope {
	return &scope{slots: map[string]int{"odd": 0, "num": 1, "none": 2}, defined: map[string]bool{"odd": true, "num": true, "none": true}, unknown: map[string]bool{}}
}

func TestTemplates(t *testing.T) {
	const odd = "a b/c?d&e=\"f\"\r\n\x01ü"
	tests := []struct {
		text string
		esc  func(string) escape
		want string // a regular expression where it starts with ^
	}{
		{"plain", always(escapeNone), "plain"},
		{"${user}-${iteration}", always(escapeNone), "7-3"},
		{"$${user} ${user}", always(escapeNone), "${user} 7"},
		{"/p/${odd}?q=${odd}", inPath, "/p/" + strings.ReplaceAll(url.QueryEscape(odd), "+", "%20") + "?q=" + url.QueryEscape(odd)},
		{"x${odd}", always(escapeHeader), "xa b/c?d&e=\"f\"   ü"},
		{"${odd}", always(escapeNone), odd},
		{"${random:5:5}", always(escapeNone), "5"},
		{"${random:-3:9}", always(escapeNone), "^(-[123]|[0-9])$"},
		{"${zipf:1:100}", always(escapeNone), "^([1-9]|[1-9][0-9]|100)$"},
		{"${pick:red,green}", always(escapeNone), "^(red|green)$"},
		{"${uuid}", always(escapeNone), "^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"},
	}
	for _, tt := range tests {
		parsed, err := testScope().parse(tt.text, tt.esc)
		if err != nil {
			t.Errorf("%s: %v", tt.text, err)
			continue
		}
		for range 20 {
			got, ok := parsed.append(nil, testValues())
			if !ok {
				t.Errorf("%s: a value is missing", tt.text)
			}
			if strings.HasPrefix(tt.want, "^") {
				if !regexp.MustCompile(tt.want).Match(got) {
					t.Errorf("%s: %q does not match %s", tt.text, got, tt.want)
				}
			} else if string(got) != tt.want {
				t.Errorf("%s: %q, want %q", tt.text, got, tt.want)
			}
		}
	}
	for _, bad := range []string{"${user", "${random:1}", "${random:9:1}", "${random:a:b}", "${zipf}", "${pick:}", "${pick}", "${roll:1:2}",
		"${random:-9223372036854775808:9223372036854775807}"} {
		if _, err := testScope().parse(bad, always(escapeNone)); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
	missing, _ := testScope().parse("a${none}", always(escapeNone))
	if _, ok := missing.append(nil, testValues()); ok {
		t.Error("a variable without a value is written")
	}
}

func TestJSONBody(t *testing.T) {
	v := map[string]any{
		"id": "${num}", "text": "n${num}", "odd": "${odd}", "n": 3, "list": []any{"${user}", true, nil, 1.5, "ü\""},
		"${user}": map[any]any{"k": "${pick:a}"}, "roll": "${random:2:2}",
	}
	sc := testScope()
	body, err := sc.jsonBody(nil, v, 0)
	if err != nil {
		t.Fatal(err)
	}
	text, ok := body.joined().append(nil, testValues())
	if !ok {
		t.Fatal("a value is missing")
	}
	var got map[string]any
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	want := `{"7":{"k":"a"},"id":42,"list":[7,true,null,1.5,"ü\""],"n":3,"odd":"a b/c?d\u0026e=\"f\"\r\n\u0001ü","roll":2,"text":"n42"}`
	if again, _ := json.Marshal(got); string(again) != want {
		t.Errorf("got  %s\nwant %s", again, want)
	}
}

func TestFormBody(t *testing.T) {
	body, err := testScope().formBody(map[string]string{"a b": "x & ${odd}", "c": "ü"})
	if err != nil {
		t.Fatal(err)
	}
	text, _ := body.append(nil, testValues())
	got, err := url.ParseQuery(string(text))
	if err != nil || got.Get("a b") != "x & a b/c?d&e=\"f\"\r\n\x01ü" || got.Get("c") != "ü" {
		t.Errorf("%s is read as %v (%v)", text, got, err)
	}
}

func TestZipf(t *testing.T) {
	const n, draws = 50, 200000
	z, rng := newZipf(n), rand.New(rand.NewPCG(3, 4))
	counts := make([]float64, n)
	for range draws {
		counts[z.draw(rng)]++
	}
	norm := 0.0
	for k := 1.0; k <= n; k++ {
		norm += math.Pow(k, -zipfSkew)
	}
	for k, c := range counts {
		want := draws * math.Pow(float64(k+1), -zipfSkew) / norm
		if math.Abs(c-want) > 5*math.Sqrt(want) {
			t.Errorf("rank %d is drawn %v times, want %.0f", k+1, c, want)
		}
	}
}

func TestUnknownVariablesAreListed(t *testing.T) {
	w := &topology.Workload{Scenarios: map[string]*topology.Scenario{"s": {Steps: []*topology.Step{
		{Path: "/${later}", Headers: map[string]string{"X": "${typo}"}},
		{Path: "/", Extract: map[string]*topology.Extract{"later": {JSON: "id"}}},
		{Path: "/${later}"},
	}}}}
	_, err := compile(w, nil, &targets{cfg: &Config{Target: "http://h"}})
	if err == nil || !strings.Contains(err.Error(), "${later}") || !strings.Contains(err.Error(), "${typo}") {
		t.Errorf("error %v, want one that lists later and typo", err)
	}
}

func TestCompileRefuses(t *testing.T) {
	think := topology.Duration(0)
	one := func(s *topology.Step) *topology.Workload {
		return &topology.Workload{Scenarios: map[string]*topology.Scenario{"s": {Think: &think, Steps: []*topology.Step{s}}}}
	}
	tests := map[string]*topology.Workload{
		"no scenarios":   {},
		"no steps":       {Scenarios: map[string]*topology.Scenario{"s": {}}},
		"mix of nothing": {Mix: map[string]topology.Percent{"x": 1}, Scenarios: map[string]*topology.Scenario{"s": {}}},
		"no path":        one(&topology.Step{}),
		"method":         one(&topology.Step{Path: "/", Method: "GE T"}),
		"framing":        one(&topology.Step{Path: "/", Headers: map[string]string{"content-length": "3"}}),
		"header name":    one(&topology.Step{Path: "/", Headers: map[string]string{"a b": "3"}}),
		"header value":   one(&topology.Step{Path: "/", Headers: map[string]string{"a": "3\r\nb: c"}}),
		"two bodies":     one(&topology.Step{Path: "/", Body: "a", JSON: 1}),
		"two extracts":   one(&topology.Step{Path: "/", Extract: map[string]*topology.Extract{"a": {JSON: "a", Regex: "b"}}}),
		"regex":          one(&topology.Step{Path: "/", Extract: map[string]*topology.Extract{"a": {Regex: "("}}}),
	}
	for name, w := range tests {
		if _, err := compile(w, nil, &targets{cfg: &Config{Target: "http://h"}}); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestStepNames(t *testing.T) {
	router := topology.NewRouter([]*topology.Route{
		{Path: "/", To: "web"}, {Path: "/products/", To: "web"}, {Method: "POST", Path: "/checkout", To: "web"}, {Name: "odd", Path: "/a b", To: "web"},
	})
	w := &topology.Workload{Scenarios: map[string]*topology.Scenario{"s": {Steps: []*topology.Step{
		{Path: "/products/${random:1:9}?x=/checkout"}, {Path: "/checkout", Method: "POST"}, {Path: "/a%20b"}, {Path: "/checkout"}, {Path: "/", Name: "mine"},
		{Path: "/products/7"},
	}}}}
	p, err := compile(w, router, &targets{cfg: &Config{Target: "http://h"}})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(p.names, ","); got != "/products/,POST /checkout,odd,/,mine" {
		t.Errorf("names %s", got)
	}
	if p, _ = compile(w, nil, &targets{cfg: &Config{Target: "http://h/base"}}); p.names[0] != "GET /products/${random:1:9}" || !strings.HasPrefix(string(p.scenarios[0].steps[1].fixed), "POST /base/checkout HTTP/1.1\r\nHost: h\r\n") {
		t.Errorf("name %q, request %q", p.names[0], p.scenarios[0].steps[1].fixed)
	}
}
