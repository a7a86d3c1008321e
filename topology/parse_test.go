package topology

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

const small = "system: s\nservices: {web: {run: web}}\n"

func parseText(texts ...string) (*System, error) {
	sources := make([]Source, len(texts))
	for i, text := range texts {
		sources[i] = Source{Name: fmt.Sprintf("%d.yaml", i), Data: []byte(text)}
	}
	return Parse(sources...)
}

func TestTextThatIsRead(t *testing.T) {
	for name, text := range map[string]string{
		"byte order mark": "\ufeff" + small,
		"CRLF":            strings.ReplaceAll(small, "\n", "\r\n"),
		"header":          "# comment\n---\n" + small + "...\n",
		"tab in a value":  "system: s\t\nservices: {web: {run: \"a\\tb\"}}\n",
		"extensions":      small + "x-a: {b: [c]}\nroutes: [{path: /, to: web, x-why: because}]\n",
		"merge keys":      "system: s\nx-b: &b {run: web}\nservices: {a: {<<: *b, replicas: 2}, b: {<<: [*b]}, c: *b}\n",
		"tags":            "system: !!str s\nservices: {web: {run: !!str web}}\n",
		"explicit key":    "? system\n: s\nservices: {web: {run: web}}\n",
	} {
		if _, err := parseText(text); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTextThatIsRefused(t *testing.T) {
	repeat := strings.Repeat
	bomb := "x-a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1]\n"
	for c := 'b'; c <= 'k'; c++ {
		bomb += fmt.Sprintf("x-%c: &%c [%s*%c]\n", c, c, repeat(fmt.Sprintf("*%c, ", c-1), 8), c-1)
	}
	merges := "x-a: &a {k0: 1, k1: 1}\n"
	for i := range 40 {
		merges += fmt.Sprintf("x-m%d: &m%d {<<: [*a, *a], v: [%s*a]}\n", i, i, repeat("*a, ", 2000))
	}
	for name, c := range map[string]struct{ text, want string }{
		"empty":                     {"", "0.yaml:1:1: the file is empty"},
		"only a comment":            {"# nothing\n", "0.yaml:1:1: the file is empty"},
		"only a header":             {"---\n", "the file is empty"},
		"a list":                    {"- a\n- b\n", "0.yaml:1:1: found a list, expected a map"},
		"a scalar":                  {"hello\n", `0.yaml:1:1: found "hello", expected a map`},
		"two documents":             {small + "---\n" + small, "0.yaml:3:1: a second document begins"},
		"not UTF-8":                 {"system: s\nservices: \xff\n", "0.yaml:2:11: found the byte 0xFF"},
		"UTF-16":                    {"\xff\xfea\x00", "0.yaml:1:1: the file is UTF-16"},
		"control character":         {"system: a\x01b\n", "0.yaml:1:10: found the control character U+0001"},
		"tab indents":               {"system: s\nservices:\n\tweb: {run: web}\n", "0.yaml:3:1: a tab indents the line; indent with spaces"},
		"open brace":                {"system: s\nservices: {web: {run: web}\n", "0.yaml:2:"},
		"open quote":                {"system: \"s\n", "0.yaml:1:9: not YAML:"},
		"wrong indent":              {"a:\n  b: 1\n c: 2\n", "0.yaml:3:"},
		"twice":                     {small + "system: t\n", `0.yaml:3:1: the key "system" stands twice; it stands at 1:1 already`},
		"unknown alias":             {"system: *nme\nx: &name s\n", `0.yaml:1:9: no anchor "&nme" stands before this alias`},
		"alias to itself":           {"system: s\nx-a: &a [*a]\n", `no anchor "&a" stands before this alias`},
		"tag":                       {"system: !secret s\n", `0.yaml:1:9: found the tag "!secret"`},
		"an unknown alias as a key": {"system: s\nservices: {web: {run: web, env: {*a : 1}}}\n", `no anchor "&a" stands before this alias`},
		"an empty name":             {"system: s\nservices: {\"\": {run: web}}\n", `found "", expected a name`},
		"merge of a scalar":         {small + "x-a: {<<: 3}\n", "0.yaml:3:11: found 3, expected a map"},
		"a map as a key":            {"{a: b}: c\n", "0.yaml:1:7: not YAML:"},
		"billion laughs":            {bomb + small, "the file holds too much"},
		"merged laughs":             {merges + small, "the file holds too much"},
		"deep brackets":             {"x-a: " + repeat("[", 100_000), "nested too deeply"},
		"deep braces":               {"x-a: " + repeat("{a: ", 100_000), "nested too deeply"},
		"deep dashes":               {repeat("- ", 100_000), "nested too deeply"},
		"deep question marks":       {repeat("? ", 100_000), "nested too deeply"},
		"deep tags":                 {repeat("!!map ", 100_000), "nested too deeply"},
		"deep but balanced":         {"x-a: " + repeat("[", 70) + repeat("]", 70), "nested too deeply"},
		"deep anchors":              {"x-a: " + repeat("&a ", 100_000), "0.yaml:"},
		"many anchors":              {repeat("- &a 1\n", 20_000), "too many anchors"},
		"too many names":            {"system: s\nservices:\n" + manyServices(10_001), "0.yaml:10003:9: found more than 10000 entries, expected at most 10000"},
	} {
		_, err := parseText(c.text)
		var problems Errors
		if !errors.As(err, &problems) {
			t.Errorf("%s: got %v", name, err)
		} else if line := problems[0].String(); !strings.Contains(line, c.want) {
			t.Errorf("%s: got %.300s\nwant %s", name, line, c.want)
		}
	}
}

// TestHardFilesEnd reads files of the largest size whose shape takes some parsers minutes.
func TestHardFilesEnd(t *testing.T) {
	fill := func(s string) string { return strings.Repeat(s, maxFileBytes/len(s)-1) }
	many := func(line string) string {
		var b strings.Builder
		for i := 0; b.Len() < maxFileBytes-64; i++ {
			fmt.Fprintf(&b, line, i)
		}
		return b.String()
	}
	for name, text := range map[string]string{
		"brackets":   fill("[]"),
		"dashes":     fill("-\n"),
		"documents":  fill("---\na\n"),
		"keys":       many("k%d: 1\n"),
		"flow keys":  "a: {" + many("k%d: 1, ") + "}",
		"anchors":    many("k%d: &a 1\n"),
		"quotes":     fill("' "),
		"colons":     fill("a: "),
		"line":       "a: " + fill("x"),
		"lines":      "a: b\n" + fill("  x\n"),
		"escapes":    "a: \"" + fill("\\x41") + "\"",
		"typos":      small + "routes:\n" + many("- {path: /%d, to: wbe}\n"),
		"inherited":  "system: s\nservices: {w: {run: w, inbound: {retry: {on: [" + strings.Repeat("500, ", 99) + "500]}}}}\nroutes:\n" + strings.Repeat("- {path: /, to: w}\n", 9900),
		"dead ends":  "system: s\nqueues:\n" + strings.Repeat("  a: {}\n", 5000),
		"not a name": "? " + fill("[a]: "),
	} {
		if sys, err := parseText(text); err == nil || sys != nil {
			t.Errorf("%s: it was read", name)
		}
	}
}

func manyServices(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "  s%d: {run: web}\n", i)
	}
	return b.String()
}

func TestLoadRefusesALargeFileUnread(t *testing.T) {
	name := filepath.Join(t.TempDir(), "large.yaml")
	if err := os.WriteFile(name, bytes.Repeat([]byte("a: b\n"), 2<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Load(name)
	var problems Errors
	if !errors.As(err, &problems) || len(problems) != 1 || !strings.Contains(err.Error(), "too large: 10MiB, expected at most 1MiB") {
		t.Errorf("got %v", err)
	}
	if _, err = parseText(strings.Repeat("a: b\n", 2<<20)); err == nil || !strings.Contains(err.Error(), "too large: 10MiB") {
		t.Errorf("got %v", err)
	}
}

func TestLoadNamesTheFileThatCannotBeRead(t *testing.T) {
	if _, err := Load(filepath.Join(t.TempDir(), "none.yaml")); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "none.yaml") {
		t.Errorf("got %v", err)
	}
	if _, err := Load(t.TempDir()); err == nil || !strings.Contains(err.Error(), "is a folder") {
		t.Errorf("got %v", err)
	}
	if _, err := Load(); err == nil {
		t.Error("no file at all was read")
	}
	if _, err := Parse(); err == nil {
		t.Error("no source at all was read")
	}
}

func TestProblemsAreCappedAndSorted(t *testing.T) {
	var b strings.Builder
	for i := range 250 {
		fmt.Fprintf(&b, "k%d: 1\n", i)
	}
	_, err := parseText(small + b.String())
	problems := err.(Errors)
	if len(problems) != maxProblems+1 || problems[maxProblems].Message != "and 150 more problems" {
		t.Fatalf("got %d problems, the last %v", len(problems), problems[len(problems)-1])
	}
	for i, p := range problems[:maxProblems] {
		if p.Line != i+3 {
			t.Fatalf("problem %d lies in line %d", i, p.Line)
		}
	}
}

func TestProblemsAsJSON(t *testing.T) {
	_, err := parseText(small + "routes: [{path: /, to: wbe}]\n")
	text, jsonErr := json.Marshal(err)
	want := `[{"file":"0.yaml","line":3,"column":24,"path":"routes[0].to","found":"\"wbe\"","message":"there is no such service","hint":"did you mean \"web\"?"}]`
	if jsonErr != nil || string(text) != want {
		t.Errorf("got %s, %v", text, jsonErr)
	}
}

func TestOverlays(t *testing.T) {
	base := `
system: s
services:
  web: {run: web, env: {A: 1, B: 2}, uses: [api], replicas: {min: 1, max: 4}}
  api: {run: api}
routes:
  - {path: /, to: web, timeout: 1s}
  - {name: buy, method: POST, path: /buy, to: web}
workload: {users: 10, scenarios: {a: {steps: [{path: /}]}}}
`
	over := `
services:
  web: {env: {B: 3, C: 4}, uses: [], replicas: {max: 8}}
routes:
  - {path: /, timeout: 2s}
  - {name: buy, path: /purchase}
  - {path: /new, to: api}
workload: {users: null, rate: 5/s}
`
	sys, err := parseText(base, over)
	if err != nil {
		t.Fatal(err)
	}
	web := sys.Services["web"]
	if want := map[string]string{"A": "1", "B": "3", "C": "4"}; !reflect.DeepEqual(web.Env, want) {
		t.Errorf("env %v", web.Env)
	}
	if web.Uses != nil || web.Replicas != (Replicas{1, 8}) || web.Run[0] != "web" {
		t.Errorf("web %+v", web)
	}
	var routes []string
	for _, r := range sys.Routes {
		routes = append(routes, fmt.Sprint(r.Name, " ", r.Method, " ", r.Path, " ", r.To, " ", r.Timeout))
	}
	if want := []string{"/  / web 2s", "buy POST /purchase web 30s", "/new  /new api 30s"}; !reflect.DeepEqual(routes, want) {
		t.Errorf("routes %q", routes)
	}
	if w := sys.Workload; w.Users != 0 || w.Rate != 5 || len(w.Scenarios) != 1 {
		t.Errorf("workload %+v", w)
	}
	// A problem of an overlay names the overlay.
	_, err = parseText(base, "services: {web: {uses: [apl]}}\n")
	if err == nil || !strings.HasPrefix(err.Error(), `1.yaml:1:25: services.web.uses[0]: found "apl", there is no such service; did you mean "api"?`) {
		t.Errorf("got %v", err)
	}
}

// What was measured of a route is all that is known of it; what is said of it after that is merged as all else.
func TestMeasuredDemandsReplaceDeclaredOnes(t *testing.T) {
	base := `
system: s
services: {web: {run: web, uses: [api]}, api: {run: api}}
routes: [{name: home, path: /, to: web}, {name: buy, path: /buy, to: web}]
demands:
  home: {web: {visits: 1, cpu: 1ms, delay: 2ms}, api: {visits: 1, cpu: 1ms}}
  buy: {api: {visits: 2, cpu: 1ms}}
`
	measured := "calibration: {throughput: 1}\ndemands: {home: {web: {visits: 1, cpu: 3ms}}}\n"
	after := "demands: {home: {web: {scv: 2}}}\n"
	for _, c := range []struct {
		overlays  []string
		web, home int // ms of delay; services of home
		cpu       time.Duration
	}{
		{nil, 2, 2, time.Millisecond},
		{[]string{"demands: {home: {web: {visits: 1, cpu: 3ms}}}\n"}, 2, 2, 3 * time.Millisecond},
		{[]string{measured}, 0, 1, 3 * time.Millisecond},
		{[]string{measured, after}, 0, 1, 3 * time.Millisecond},
	} {
		sys, err := parseText(append([]string{base}, c.overlays...)...)
		if err != nil {
			t.Fatal(err)
		}
		home := sys.Demands["home"]
		if web := home["web"]; len(home) != c.home || web.CPU.Std() != c.cpu || web.Delay.Std() != time.Duration(c.web)*time.Millisecond {
			t.Errorf("%q: %d services, web %+v", c.overlays, len(home), web)
		}
		if api := sys.Demands["buy"]["api"]; api == nil || api.Visits != 2 {
			t.Errorf("%q: a route that was not measured has lost its demands: %+v", c.overlays, api)
		}
		if len(c.overlays) == 2 && (home["web"].SCV == nil || *home["web"].SCV != 2) {
			t.Error("what follows the measured demands is not laid over them")
		}
	}
}

func TestPathsStartFromTheirOwnFile(t *testing.T) {
	sys, err := Parse(
		Source{"shop/banyan.yaml", []byte("system: s\nservices: {web: {build: ./web, contract: api.yaml}, abs: {build: /src/abs}}\n")},
		Source{"shop/envs/prod.yaml", []byte("services: {cart: {build: ./cart, dir: ../run}, up: {build: ../../lib}}\n")},
	)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"web": "./web", "abs": "/src/abs", "cart": "./envs/cart", "up": "../lib"} {
		if got := sys.Services[name].Build; got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	if sys.Services["cart"].Dir != "./run" || sys.Dir != "shop" {
		t.Errorf("%q, %q", sys.Services["cart"].Dir, sys.Dir)
	}
	for in, want := range map[string]string{"./web": "shop/web", "../lib": "lib", "/src/abs": "/src/abs", "": "shop"} {
		if got := sys.Path(in); got != want {
			t.Errorf("Path(%q) is %q", in, got)
		}
	}
}

func TestAccessors(t *testing.T) {
	sys, err := Load("testdata/valid/shop.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(sys.SortedServices(), sys.Edges()); got != "[cart catalog orders web] [{web cart} {web catalog} {web orders}]" {
		t.Error(got)
	}
	if sys.RouteByName("POST /checkout") != sys.Routes[1] || sys.RouteByName("none") != nil {
		t.Error("routes are not found by name")
	}
	if kind, name := ServiceOf("caches.products"); kind != "caches" || name != "products" {
		t.Error(kind, name)
	}
	if !filepath.IsAbs(sys.Dir) {
		t.Error(sys.Dir)
	}
}

// TestTheExamplesUseTheWholeVocabulary looks for fields that no valid file sets.
func TestTheExamplesUseTheWholeVocabulary(t *testing.T) {
	set := map[string]bool{}
	var walk func(v reflect.Value)
	walk = func(v reflect.Value) {
		switch v.Kind() {
		case reflect.Pointer:
			if !v.IsNil() {
				walk(v.Elem())
			}
		case reflect.Slice:
			for i := range v.Len() {
				walk(v.Index(i))
			}
		case reflect.Map:
			for _, k := range v.MapKeys() {
				walk(v.MapIndex(k))
			}
		case reflect.Struct:
			for i := range v.NumField() {
				name := v.Type().Name() + "." + v.Type().Field(i).Name
				set[name] = set[name] || !v.Field(i).IsZero()
				walk(v.Field(i))
			}
		}
	}
	for _, name := range validFiles(t) {
		sys, err := Load(name)
		if err != nil {
			t.Fatal(err)
		}
		walk(reflect.ValueOf(sys))
	}
	for name, isSet := range set {
		if !isSet {
			t.Errorf("no example sets %s", name)
		}
	}
}

// FuzzParse looks for panics, for problems without a place in words, and for systems that do not come back from YAML.
func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"testdata/valid/*.yaml", "testdata/invalid/*.yaml"} {
		files, _ := filepath.Glob(pattern)
		for _, name := range files {
			data, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		sys, err := Parse(Source{"f.yaml", data})
		if err != nil {
			problems, ok := err.(Errors)
			if !ok || len(problems) == 0 || sys != nil {
				t.Fatalf("got %v, %v", sys, err)
			}
			for _, p := range problems {
				if p.Message == "" && p.Expected == "" {
					t.Fatalf("a problem says nothing: %+v", p)
				}
				if strings.Contains(p.String(), "\n") {
					t.Fatalf("a problem has two lines: %q", p.String())
				}
			}
			return
		}
		text, err := sys.YAML()
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse(Source{"f.yaml", text})
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if !reflect.DeepEqual(sys, again) {
			second, _ := again.YAML()
			t.Fatal(firstDifference(string(text), string(second)))
		}
	})
}

func TestAddressesInFlowLists(t *testing.T) {
	sys, err := Parse(Source{Name: "a.yaml", Data: []byte(`
system: a
services: {x: {backends: [127.0.0.1:80, h:81, {address: h:82}, "h:83"]}}
`)})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, b := range sys.Services["x"].Backends {
		got = append(got, b.Address)
	}
	if want := []string{"127.0.0.1:80", "h:81", "h:82", "h:83"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	// A quoted key may be followed by its value at once (YAML 1.2.2, 7.4.2).
	if _, err := Parse(Source{Name: "a.yaml", Data: []byte(`{system: a, services: {x: {backends: [{"address":"h:1"}]}}}`)}); err != nil {
		t.Error(err)
	}
}

// Checks go the way that calls go, so that a service which speaks TLS may have one by HTTP or gRPC.
func TestChecksOfServicesThatSpeakTLS(t *testing.T) {
	for _, check := range []string{"/healthz", "{grpc: true}", "{interval: 2s}"} {
		text := "system: s\nservices: {web: {run: ./web, tls: {ca: ca.pem}, health: {ready: " + check + ", live: " + check + "}}}\nroutes: [{path: /, to: web}]\n"
		if _, err := Parse(Source{Name: "file", Data: []byte(text)}); err != nil {
			t.Errorf("%s: %v", check, err)
		}
	}
}
