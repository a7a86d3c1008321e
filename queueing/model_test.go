package queueing

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
)

func TestExamplesCoverEveryKind(t *testing.T) {
	examples, err := Examples()
	if err != nil {
		t.Fatal(err)
	}
	missing := map[string]bool{}
	for _, k := range Kinds() {
		missing[k] = true
	}
	for _, e := range examples {
		m, err := ParseModel(strings.NewReader(e.JSON))
		if err != nil {
			t.Fatalf("%s: %v", e.File, err)
		}
		delete(missing, m.Kind)
		r, err := m.Solve()
		if err != nil {
			t.Fatalf("%s: %v", e.File, err)
		}
		raw, err := r.JSON()
		if err != nil || !json.Valid(raw) {
			t.Fatalf("%s: %v", e.File, err)
		}
		if text := r.Text(); !strings.Contains(text, r.Method) || strings.Contains(text, "NaN") {
			t.Fatalf("%s:\n%s", e.File, text)
		}
	}
	for k := range missing {
		t.Errorf("no example of kind %s", k)
	}
}

func TestParseModelIsStrict(t *testing.T) {
	for doc, want := range map[string]string{
		``:                              "EOF",
		`{}`:                            "kind is missing",
		`{"kind": "M/M/1"}`:             "inputs is missing",
		`{"kind": "M/X/1", "inputs":1}`: "unknown kind",
		`{"kind": "M/M/1", "inputs": {"lam": 1, "mu": 2, "servers": 3}}`:                                                                    `unknown field "servers"`,
		`{"kind": "M/M/1", "inputs": {"lam": 1, "mu": 2}, "x": 1}`:                                                                          `unknown field "x"`,
		`{"kind": "M/M/1", "inputs": {"lam": 1, "mu": 2}} {}`:                                                                               "something follows",
		`{"kind": "M/M/c", "inputs": {"mu": 2}}`:                                                                                            "missing lam",
		`{"kind": "M/M/1", "inputs": {"lam": 3, "mu": 2}}`:                                                                                  "unstable",
		`{"kind": "M/M/c", "inputs": {"lam": 1, "mu": 2, "c": -1}}`:                                                                         "servers is -1",
		`{"kind": "M/M/1", "inputs": {"lam": 1e999, "mu": 2}}`:                                                                              "lam",
		`{"kind": "mixed network", "inputs": {"lam": [1], "S": [[1]], "N": [1, 2]}}`:                                                        "1 arrival rates and 2 populations",
		`{"kind": "closed single-class exact MVA", "inputs": {"N": 1.5, "S": [1]}}`:                                                         "whole number",
		`{"kind": "polling queue mean waits", "inputs": {"arrivals": "exp mean 1", "service": "exp median 1", "switchover": "exp mean 1"}}`: "unknown word",
		`{"kind": "LQN", "inputs": {"T1": {"ref": true, "colour": 1, "processor": "P"}}}`:                                                   "unknown field",
	} {
		m, err := ParseModel(strings.NewReader(doc))
		if err == nil {
			_, err = m.Solve()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want an error with %q", doc, err, want)
		}
	}
	if _, err := ParseModel(strings.NewReader(strings.Repeat(" ", maxModelBytes+1))); err == nil {
		t.Error("accepted an endless document")
	}
}

func FuzzParseModel(f *testing.F) {
	examples, err := Examples()
	if err != nil {
		f.Fatal(err)
	}
	for _, e := range examples {
		f.Add(e.JSON)
	}
	f.Fuzz(func(t *testing.T, doc string) {
		if len(doc) > 2000 {
			return
		}
		m, err := ParseModel(strings.NewReader(doc))
		if err != nil {
			return
		}
		// Sampled and very large models are bounded but take seconds.
		if strings.Contains(m.Kind, "LQN") || strings.Contains(m.Kind, "fork") || strings.Contains(m.Kind, "exact Markov") || strings.Contains(m.Kind, "cache") {
			return
		}
		r, err := m.Solve()
		if err != nil {
			return
		}
		for name, v := range r.Values {
			if list, ok := v.([]float64); ok {
				for _, x := range list {
					if math.IsNaN(x) {
						t.Fatalf("%s is NaN: %s", name, doc)
					}
				}
			}
		}
		_ = r.Text()
	})
}

func FuzzParseLQN(f *testing.F) {
	f.Add(set2)
	f.Fuzz(func(t *testing.T, text string) {
		m, _, err := ParseLQN(strings.NewReader(text))
		if err != nil {
			return
		}
		_, _ = compileLQN(m)
	})
}

// A null in a list would silently be a demand, a visit or a capacity of zero.
func TestNullInAListIsAnError(t *testing.T) {
	for _, doc := range []string{
		`{"kind": "asymptotic bounds", "inputs": {"N": 3, "D": [0.1, null]}}`,
		`{"kind": "closed multi-class exact MVA", "inputs": {"N": [1, 1], "S": [[0.1, 0.2], [null, 0.1]]}}`,
		`{"kind": "closed network with blocking, exact Markov", "inputs": {"N": 2, "S": [1, 1], "capacity": [null, 2], "P": [[0, 1], [1, 0]]}}`,
		`{"kind": "LQN", "inputs": {"processors": [{"name": "p"}], "tasks": [{"name": "u", "ref": true, "processor": "p", "entries": ["e"]}], "entries": {"e": {"s": [null]}}}}`,
	} {
		if _, err := ParseModel(strings.NewReader(doc)); err == nil || !strings.Contains(err.Error(), "null in a list") {
			t.Errorf("%s: error %v", doc, err)
		}
	}
	if _, err := ParseModel(strings.NewReader(`{"kind": "M/M/1", "inputs": {"lam": 1, "mu": 2, "n_le": null}}`)); err != nil {
		t.Errorf("null for what is not given: %v", err)
	}
}
