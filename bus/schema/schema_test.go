package schema

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func parse(t testing.TB, text string) *Schema {
	t.Helper()
	s, err := Parse([]byte(text))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return s
}

func TestEventsAreChecked(t *testing.T) {
	s := parse(t, `{"type": "object", "required": ["id"], "properties": {"id": {"type": "integer"}, "items": {"type": "array", "items": {"type": "string"}}, "old": false}}`)
	for event, want := range map[string]string{
		`{"id": 7, "items": ["a"]}`:      "",
		`{"id": 7, "more": {}}`:          "",
		`{}`:                             "missing property 'id'",
		`{"id": "7", "items": ["a", 5]}`: "at /items/1: got number, want string",
		`{"id": 1, "old": 1}`:            "at /old: no value is allowed here",
		`[`:                              "not JSON",
		`{"id": 1} trailing`:             "not JSON",
		``:                               "not JSON",
	} {
		err := s.Check([]byte(event))
		if (err == nil) != (want == "") || err != nil && (!errors.Is(err, ErrMismatch) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n")) {
			t.Errorf("%s: %v, want %q", event, err, want)
		}
	}
	many := parse(t, `{"items": {"type": "string"}}`).Check([]byte("[" + strings.Repeat("1,", 500) + "1]"))
	if many == nil || !strings.Contains(many.Error(), "and 96 more") {
		t.Errorf("many places: %v", many)
	}
}

func TestSchemasThatAreRefused(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret.json")
	if err := os.WriteFile(secret, []byte(`{}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		`{"type": "objekt"}`:                     "type",
		`{`:                                      "EOF",
		`[]`:                                     "",
		`{"$ref": "file://` + secret + `"}`:      "stand by itself",
		`{"$ref": "http://127.0.0.1:1/x.json"}`:  "stand by itself",
		`{"$ref": "#/$defs/nowhere"}`:            "nowhere",
		`{"pattern": "("}`:                       "",
		`{"$schema": "http://example.com/mine"}`: "stand by itself",
		`{"x": "` + strings.Repeat("y", 1<<19) + `"`: "limit",
	} {
		if _, err := Parse([]byte(text)); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80s: %v, want one with %q", text, err, want)
		}
	}
}

// Each case has an old and a new schema, and whether the change is compatible backward and forward.
func TestCompatibility(t *testing.T) {
	const closed = `"additionalProperties": false`
	for _, c := range []struct {
		name, from, to    string
		backward, forward bool
	}{
		{"the same", `{"type": "object", "properties": {"a": {"$ref": "#/$defs/x"}}, "$defs": {"x": {"type": "string"}}}`, `{"properties": {"a": {"$ref": "#/$defs/y"}}, "type": "object", "$defs": {"y": {"type": "string"}}}`, true, true},
		{"annotations", `{"title": "a"}`, `{"title": "b", "description": "c", "x-mine": 1}`, true, true},
		{"an optional property more", `{"type": "object"}`, `{"type": "object", "properties": {"a": {"type": "string"}}}`, true, true},
		{"an optional property less", `{"properties": {"a": {"type": "string"}}}`, `{}`, true, true},
		{"a closed one gets a property", `{"properties": {"a": {}}, ` + closed + `}`, `{"properties": {"a": {}, "b": {}}, ` + closed + `}`, true, false},
		{"a closed one loses a property", `{"properties": {"a": {}, "b": {}}, ` + closed + `}`, `{"properties": {"a": {}}, ` + closed + `}`, false, true},
		{"closing", `{"properties": {"a": {}}}`, `{"properties": {"a": {}}, ` + closed + `}`, false, true},
		{"a required property more", `{"type": "object"}`, `{"type": "object", "required": ["a"]}`, false, true},
		{"a wider type", `{"type": "integer"}`, `{"type": "number"}`, true, false},
		{"nullable", `{"type": "string"}`, `{"type": ["string", "null"]}`, true, false},
		{"another type", `{"properties": {"a": {"type": "string"}}}`, `{"properties": {"a": {"type": "integer"}}}`, false, false},
		{"a value more", `{"enum": ["a", "b"]}`, `{"enum": ["a", "b", "c"]}`, true, false},
		{"values become a type", `{"enum": ["a", "b"]}`, `{"type": "string", "maxLength": 1}`, true, false},
		{"values do not fit", `{"enum": ["a", "bb"]}`, `{"type": "string", "maxLength": 1}`, false, false},
		{"a constant", `{"const": 1.0}`, `{"const": 1}`, true, true},
		{"a range", `{"type": "integer", "minimum": 1, "exclusiveMaximum": 10}`, `{"type": "integer", "minimum": 0, "maximum": 10}`, true, false},
		{"an open end", `{"type": "number", "minimum": 1}`, `{"type": "number", "exclusiveMinimum": 1}`, false, true},
		{"steps", `{"type": "integer", "multipleOf": 10}`, `{"type": "integer", "multipleOf": 5}`, true, false},
		{"integers are multiples of 1", `{"type": "integer"}`, `{"type": "number", "multipleOf": 0.5}`, true, false},
		{"lengths", `{"type": "string", "minLength": 2, "maxLength": 3}`, `{"type": "string", "minLength": 1, "maxLength": 4}`, true, false},
		{"a pattern", `{"type": "string"}`, `{"type": "string", "pattern": "^a"}`, false, true},
		{"another pattern", `{"type": "string", "pattern": "^ab"}`, `{"type": "string", "pattern": "^a"}`, false, false}, // it can't be told
		{"items", `{"type": "array", "items": {"type": "integer"}}`, `{"type": "array", "items": {"type": "number"}, "maxItems": 5}`, false, false},
		{"alternatives", `{"anyOf": [{"type": "string"}, {"type": "integer"}]}`, `{"anyOf": [{"type": "number"}, {"type": "string"}, {"type": "null"}]}`, true, false},
		{"a type becomes alternatives", `{"type": ["string", "integer"]}`, `{"anyOf": [{"type": "number"}, {"type": "string"}]}`, true, false},
		{"allOf", `{"allOf": [{"type": "string"}, {"maxLength": 3}]}`, `{"type": "string"}`, true, false},
		{"a bound by allOf", `{"type": "string"}`, `{"allOf": [{"type": "string"}, {"maxLength": 3}]}`, false, true},
		{"oneOf as it was", `{"oneOf": [{"type": "string"}, {"type": "null"}]}`, `{"oneOf": [{"type": "string"}, {"type": "null"}]}`, true, true},
		{"oneOf changed", `{"oneOf": [{"type": "string"}]}`, `{"oneOf": [{"type": "string"}, {"type": "null"}]}`, false, false},
		{"nothing", `false`, `{"type": "string"}`, true, false},
		{"anything", `true`, `{"type": "string"}`, false, true},
		{"a tree", `{"type": "object", "properties": {"next": {"$ref": "#"}}}`, `{"$ref": "#/$defs/n", "$defs": {"n": {"type": "object", "properties": {"next": {"$ref": "#/$defs/n"}, "x": {}}}}}`, true, true},
		{"a tree changes", `{"type": "object", "properties": {"next": {"$ref": "#"}, "v": {"type": "integer"}}}`, `{"type": "object", "properties": {"next": {"$ref": "#"}, "v": {"type": "string"}}}`, false, false},
		{"a reference with the same name changes", `{"properties": {"a": {"anyOf": [{"$ref": "#/$defs/x"}]}}, "$defs": {"x": {"type": "string"}}}`, `{"properties": {"a": {"anyOf": [{"$ref": "#/$defs/x"}]}}, "$defs": {"x": {"type": "integer"}}}`, false, false},
		{"the additional ones", `{"additionalProperties": {"type": "integer"}}`, `{"additionalProperties": {"type": "number"}, "properties": {"a": {"type": "number"}}}`, true, false},
	} {
		from, to := parse(t, c.from), parse(t, c.to)
		backward, forward := Breaks(Backward, from, to), Breaks(Forward, from, to)
		if (len(backward) == 0) != c.backward {
			t.Errorf("%s: backward: %q, want compatible %v", c.name, backward, c.backward)
		}
		if (len(forward) == 0) != c.forward {
			t.Errorf("%s: forward: %q, want compatible %v", c.name, forward, c.forward)
		}
		if both := Breaks(Full, from, to); len(both) != len(backward)+len(forward) || len(Breaks(None, from, to)) != 0 {
			t.Errorf("%s: full: %q", c.name, both)
		}
	}
}

// What is called compatible is: no event that one schema takes is refused by the other. Events and schemas are random, and closed, so
// that properties that are not named do not count.
func TestCompatibleMeansSo(t *testing.T) {
	compatible := 0
	for seed := range uint64(1000) {
		rng := rand.New(rand.NewPCG(seed, 3))
		from := parse(t, randomWhole(rng))
		to := parse(t, randomWhole(rng))
		if len(Breaks(Backward, from, to)) > 0 {
			continue
		}
		compatible++
		for range 60 {
			if event := []byte(randomEvent(rng, 2)); from.Check(event) == nil && to.Check(event) != nil {
				t.Fatalf("seed %d: %s is taken by %s and refused by %s", seed, event, from.text, to.text)
			}
		}
	}
	if compatible < 50 {
		t.Errorf("only %d pairs were compatible: too few to mean something", compatible)
	}
}

func pick(rng *rand.Rand, from ...string) string { return from[rng.IntN(len(from))] }

// randomWhole is a schema with the definition that its parts may refer to.
func randomWhole(rng *rand.Rand) string {
	s, ok := strings.CutPrefix(randomSchema(rng, 2), "{")
	if !ok {
		return s
	}
	between := ", "
	if s == "}" {
		between = ""
	}
	return `{"$defs": {"x": ` + randomSchema(rng, 0) + `}` + between + s
}

func randomSchema(rng *rand.Rand, depth int) string {
	if depth > 0 {
		switch rng.IntN(8) {
		case 0:
			return `{"anyOf": [` + randomSchema(rng, depth-1) + `, ` + randomSchema(rng, depth-1) + `]}`
		case 1:
			return `{"allOf": [` + randomSchema(rng, depth-1) + `], "type": ` + pick(rng, `"string"`, `["object", "number"]`) + `}`
		case 2:
			return `{"type": "array", "items": ` + randomSchema(rng, depth-1) + pick(rng, ``, `, "maxItems": 1`, `, "minItems": 1`, `, "uniqueItems": true`) + `}`
		case 3, 4:
			return `{"type": "object", "additionalProperties": false, "properties": {"a": ` + randomSchema(rng, depth-1) + `, "` + pick(rng, "b", "c") + `": ` + randomSchema(rng, depth-1) + `}` +
				pick(rng, ``, `, "required": ["a"]`, `, "maxProperties": 1`) + `}`
		case 5:
			return `{"$ref": "#/$defs/x"}`
		}
	}
	return pick(rng, `true`, `false`, `{}`, `{"type": "string"}`, `{"type": "string", "minLength": 1}`, `{"type": "number"}`, `{"type": "integer"}`, `{"type": ["string", "null"]}`,
		`{"type": ["integer", "string"], "maximum": 2}`, `{"enum": [1, "a", null]}`, `{"enum": [1, "a"]}`, `{"const": 1}`, `{"minimum": 1}`, `{"exclusiveMinimum": 1}`,
		`{"type": "number", "multipleOf": 2}`, `{"not": {"type": "string"}}`, `{"maxLength": 1}`)
}

func randomEvent(rng *rand.Rand, depth int) string {
	if depth > 0 {
		switch rng.IntN(3) {
		case 0:
			return `[` + pick(rng, randomEvent(rng, depth-1), ``, randomEvent(rng, depth-1)+`, 1`) + `]`
		case 1:
			return `{` + pick(rng, ``, `"a": `+randomEvent(rng, depth-1), `"b": `+randomEvent(rng, depth-1)+`, "c": 1`, `"a": 1, "b": `+randomEvent(rng, depth-1)) + `}`
		}
	}
	return pick(rng, `null`, `true`, `"a"`, `""`, `"ab"`, `0`, `1`, `1.0`, `1.5`, `2`, `3`, `-7`, `[]`, `{}`)
}

func TestRegistry(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "schemas")
	r, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	if _, err := r.Version("orders", 0); !errors.Is(err, ErrNone) {
		t.Error(err)
	}
	first, second := parse(t, `{"type": "object", "required": ["id"], "description": "<id>"}`), parse(t, `{"type": "object"}`)
	if v, made, err := r.Register("orders", Backward, first, now); v != 1 || !made || err != nil {
		t.Fatal(v, made, err)
	}
	if v, made, err := r.Register("orders", Backward, parse(t, `{ "type": "object", "required": ["id"], "description": "<id>" }`), now); v != 1 || made || err != nil {
		t.Fatal(v, made, err)
	}
	if v, made, err := r.Register("orders", Backward, second, now); v != 2 || !made || err != nil {
		t.Fatal(v, made, err)
	}
	if why := r.Test("orders", Backward, first); len(why) != 1 || !strings.Contains(why[0], `"id" is required`) {
		t.Error(why)
	}
	if _, _, err := r.Register("orders", Backward, first, now); !errors.Is(err, ErrIncompatible) || !strings.Contains(err.Error(), "version 2") {
		t.Error(err)
	}
	if r, err = Open(dir); err != nil {
		t.Fatal(err)
	}
	if s, n := r.Latest("orders"); n != 2 || string(s.Text()) != `{"type":"object"}` || len(r.Versions("orders")) != 2 {
		t.Error(s, n)
	}
	if v, err := r.Version("orders", 1); err != nil || !v.At.Equal(now) || string(v.Schema) != `{"type":"object","required":["id"],"description":"<id>"}` {
		t.Error(v, err)
	}
	for _, damaged := range []string{`[`, `[]`, `[{"version": 2, "schema": {}}]`, `[{"version": 1, "schema": {"type": 5}}]`} {
		if err := os.WriteFile(filepath.Join(dir, "other.json"), []byte(damaged), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "other.json") {
			t.Errorf("%s: %v", damaged, err)
		}
	}
}

func FuzzBreaks(f *testing.F) {
	f.Add(`{"type": "object"}`, `{"$ref": "#/$defs/x", "$defs": {"x": {"$ref": "#"}}}`)
	f.Add(`{"items": [{"const": 1e999}]}`, `{"anyOf": [true, {"enum": [1]}], "multipleOf": 1e-300}`)
	f.Fuzz(func(t *testing.T, a, b string) {
		from, err1 := Parse([]byte(a))
		to, err2 := Parse([]byte(b))
		if err1 == nil && err2 == nil {
			Breaks(Full, from, to)
		}
	})
}
