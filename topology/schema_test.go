package topology

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

func compiledSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	text, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("banyan.schema.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("banyan.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// accepts says whether the schema takes a YAML text.
func accepts(t *testing.T, schema *jsonschema.Schema, text []byte) error {
	t.Helper()
	asJSON, err := yaml.YAMLToJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(asJSON))
	if err != nil {
		t.Fatal(err)
	}
	return schema.Validate(v)
}

func TestSchemaIsPublished(t *testing.T) {
	text, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "../docs/banyan.schema.json", string(text))
}

func TestSchemaDescribesEveryField(t *testing.T) {
	text, _ := Schema()
	var root any
	if err := json.Unmarshal(text, &root); err != nil {
		t.Fatal(err)
	}
	var walk func(path string, v any)
	walk = func(path string, v any) {
		m, ok := v.(map[string]any)
		if !ok {
			return
		}
		if properties, ok := m["properties"].(map[string]any); ok {
			for name, p := range properties {
				if d, _ := p.(map[string]any)["description"].(string); d == "" {
					t.Errorf("%s.%s has no description", path, name)
				}
			}
		}
		for k, v := range m {
			walk(path+"."+k, v)
		}
	}
	walk("", root)
}

// TestSchemaAgreesWithTheDecoder: what the decoder accepts, the schema accepts.
func TestSchemaAgreesWithTheDecoder(t *testing.T) {
	schema := compiledSchema(t)
	for _, name := range validFiles(t) {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		expanded, err := os.ReadFile(strings.TrimSuffix(name, ".yaml") + ".golden")
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range [][]byte{data, expanded} {
			text = bytes.ReplaceAll(text, []byte(", breaker: null"), nil) // the schema is stricter about null
			text = bytes.ReplaceAll(text, []byte(", retry: null"), nil)
			text = bytes.ReplaceAll(text, []byte("    breaker: null\n"), nil)
			text = bytes.ReplaceAll(text, []byte("    retry: null\n"), nil)
			if err := accepts(t, schema, text); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// TestSchemaRefusesWhatTheDecoderRefuses in the shape and the range of single values.
func TestSchemaRefusesWhatTheDecoderRefuses(t *testing.T) {
	schema := compiledSchema(t)
	for _, fragment := range []string{
		"servces: {}",
		"services: {Web: {run: web}}",
		"services: {web: {run: web, replica: 3}}",
		"services: {web: {run: web, replicas: many}}",
		"services: {web: {run: web, replicas: {min: -1}}}",
		"services: {web: {run: web, replicas: 1.5}}",
		"services: {web: {run: web, drain: 5}}",
		"services: {web: {run: web, drain: 5 minutes}}",
		"services: {web: {run: web, limits: {memory: 64mb}}}",
		"services: {web: {run: web, limits: {cpu: -1}}}",
		"services: {web: {run: web, inbound: {balance: fastest}}}",
		"services: {web: {run: web, health: {ready: healthz}}}",
		"services: {web: {run: {a: b}}}",
		"services: {web: {run: web, env: {A-B: 1}}}",
		"services: {web: {run: web, env: [A=1]}}",
		"services: {web: {run: web, uses: 3}}",
		"services: {web: {run: web, scale: {target: {cpu: x%}, predict: yes}}}",
		"services: [web]",
		"routes: {path: /}",
		"routes: [{to: web}]",
		"tables: {t: {shards: 0, key: a}}",
		"tables: {t: {key: [a, b, c]}}",
		"tables: {t: {}}",
		"slos: {s: {route: /, latency: {99: 1s}}}",
		"workload: {rate: 200}",
		"growth: {requests: 8%}",
		"version: 2",
		"listen: localhost",
	} {
		text := fragment + "\n"
		if !strings.HasPrefix(fragment, "services") {
			text += "services: {web: {run: web}}\n"
		}
		text += "system: s\n"
		if _, err := parseText(text); err == nil {
			t.Errorf("%s: the decoder accepts it", fragment)
		}
		if accepts(t, schema, []byte(text)) == nil {
			t.Errorf("%s: the schema accepts it", fragment)
		}
	}
}

func TestExplain(t *testing.T) {
	var b strings.Builder
	for _, path := range []string{"", "services.scale", "services.web.scale.target", "services.web.replicas", "routes[0].retry.attempts",
		"routes.on", "workload.mix.browse", "demands.home.web.cpu", "slos.checkout.latency.p99", "growth.requests", "tables.key",
		"services.web.inbund", "services.scal", "system.name", "servces", "routes.retry.attempts.x", "workload.scenarios.a.steps[1].json"} {
		text, err := Explain(path)
		b.WriteString("> " + path + "\n")
		if err != nil {
			text = "error: " + err.Error() + "\n"
		}
		b.WriteString(text + "\n")
	}
	golden(t, "testdata/explain.golden", b.String())
}
