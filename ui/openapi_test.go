package ui

import (
	"bytes"
	"encoding/json"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/banyanhq/banyan/load"
)

// compiled returns the document's schema at a pointer.
func compiled(t *testing.T, document []byte, pointer string) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(document))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	if err := c.AddResource("openapi.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("openapi.json#" + pointer)
	if err != nil {
		t.Fatalf("%s: %v", pointer, err)
	}
	return s
}

func pointerTo(o Operation, rest string) string {
	path := strings.NewReplacer("~", "~0", "/", "~1").Replace(o.Path)
	return "/paths/" + path + "/" + strings.ToLower(o.Method) + rest
}

const answerSchema = "/responses/200/content/application~1json/schema"

// Every operation of the page is answered as the document says: each path exists, each field is described.
func TestAnswersAreAsTheDocumentSays(t *testing.T) {
	f := fakeShop(t)
	loads := &fakeLoads{step: make(chan struct{})}
	s := newServer(t, f, func(c *Config) { c.Loader = loads })
	document := ask(s, "GET", "/api/openapi.json", "", nil).Body.Bytes()
	examples := map[string]struct{ path, body string }{
		"GET /v1/series":     {"/v1/series?node=web&range=5m", ""},
		"GET /v1/nodes/{id}": {"/v1/nodes/catalog", ""},
		"POST /v1/predict":   {"/v1/predict", `{"rate":120,"replicas":{"catalog":4}}`},
		"POST /v1/load":      {"/v1/load", `{"rate":10,"seconds":5}`},
	}
	for _, o := range pageOperations() {
		name := o.Method + " " + o.Path
		if o.Events != nil {
			continue // TestEventsAreAsTheDocumentSays
		}
		e, ok := examples[name]
		if !ok {
			e.path = o.Path
		}
		if o.Body != nil {
			body, err := jsonschema.UnmarshalJSON(strings.NewReader(e.body))
			if err != nil {
				t.Fatal(err)
			}
			if err := compiled(t, document, pointerTo(o, "/requestBody/content/application~1json/schema")).Validate(body); err != nil {
				t.Errorf("%s: the request: %v", name, err)
			}
		}
		w := ask(s.API(), o.Method, e.path, e.body, nil)
		if w.Code != 200 {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
			continue
		}
		v, err := jsonschema.UnmarshalJSON(w.Body)
		if err != nil {
			t.Fatal(err)
		}
		if err := compiled(t, document, pointerTo(o, answerSchema)).Validate(v); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestEventsAreAsTheDocumentSays(t *testing.T) {
	s := newServer(t, fakeShop(t), nil)
	document := ask(s, "GET", "/api/openapi.json", "", nil).Body.Bytes()
	frame := s.feed.latest(time.Now())
	frame.Load = &LoadState{Points: []LoadPoint{pointOf(load.Progress{})}, Summary: &LoadSummary{}}
	for name, v := range map[string]any{"hello": Hello{Frame: frame, Timeline: s.timeline()}, "frame": frame} {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		value, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		if err := compiled(t, document, "/paths/~1v1~1stream/get/x-events/"+name).Validate(value); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A field that is not described, or is missing, is found out.
func TestDocumentIsStrict(t *testing.T) {
	document := ask(newServer(t, fakeShop(t), nil), "GET", "/api/openapi.json", "", nil).Body.Bytes()
	schema := compiled(t, document, "/components/schemas/Event")
	for text, ok := range map[string]bool{
		`{"id":"1","at":5,"kind":"deploy","what":"x"}`:             true,
		`{"id":"1","at":5,"kind":"deploy","what":"x","secret":1}`:  false,
		`{"id":"1","at":5,"kind":"deploy"}`:                        false,
		`{"id":"1","at":"now","kind":"deploy","what":"something"}`: false,
	} {
		v, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(v); (err == nil) != ok {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestSchemasOfTypes(t *testing.T) {
	type Inner struct {
		Value int `json:"value"`
	}
	type outer struct {
		Inner
		*httptest.ResponseRecorder `json:"-"`
		When                       time.Time      `json:"when"`
		Took                       time.Duration  `json:"took_ns"`
		Maybe                      *Inner         `json:"maybe,omitempty"`
		Many                       map[string]int `json:"many"`
		Row                        Values         `json:"row"`
	}
	b := &documentBuilder{schemas: map[string]any{}, names: map[reflect.Type]string{}}
	b.of(reflect.TypeFor[outer]())
	s := b.schemas["outer"].(map[string]any)
	want := []string{"value", "when", "took_ns", "many", "row"}
	if got := s["required"].([]string); !reflect.DeepEqual(got, want) {
		t.Errorf("required are %v, want %v", got, want)
	}
	if p := s["properties"].(map[string]any); len(p) != 6 {
		t.Errorf("properties are %v", p)
	}
}
