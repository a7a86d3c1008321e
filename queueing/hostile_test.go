package queueing

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"
)

// leaves calls f with a setter of each number in a document, and where it stands.
func leaves(at string, v any, set func(any), f func(at string, was float64, set func(any))) {
	switch x := v.(type) {
	case map[string]any:
		for key, inner := range x {
			leaves(at+"."+key, inner, func(v any) { x[key] = v }, f)
		}
	case []any:
		for i, inner := range x {
			leaves(fmt.Sprintf("%s[%d]", at, i), inner, func(v any) { x[i] = v }, f)
		}
	case float64:
		f(at, x, set)
	}
}

// TestHostileNumbers puts absurd numbers in the place of each number of each example: the answer is an error, or a report of
// numbers, and there is no panic. Where the time that it takes is out of proportion, it says so.
func TestHostileNumbers(t *testing.T) {
	examples, err := Examples()
	if err != nil {
		t.Fatal(err)
	}
	tried, refused := 0, 0
	for _, e := range examples {
		var doc map[string]any
		if err := json.Unmarshal([]byte(e.JSON), &doc); err != nil {
			t.Fatal(err)
		}
		delete(doc, "expected")
		delete(doc, "tol")
		delete(doc, "tol_rel")
		n := 0
		leaves("", doc, nil, func(at string, was float64, set func(any)) {
			if n++; n > 40 || !strings.HasPrefix(at, ".inputs") {
				return
			}
			for _, v := range []any{-1.0, 0.0, 1e300, 1e9, 1e6, 1e-300, "NaN", nil} {
				if testing.Short() && v != -1.0 && v != 1e300 {
					continue
				}
				set(v)
				text, err := json.Marshal(doc)
				if err != nil {
					t.Fatal(err)
				}
				begin := time.Now()
				tried++
				if hostile(t, e.File+at, string(text)) {
					refused++
				}
				if took := time.Since(begin); took > time.Second {
					t.Logf("%s%s = %v took %v", e.File, at, v, took)
				}
			}
			set(was)
		})
	}
	t.Logf("%d documents, %d refused", tried, refused)
	if refused < tried/4 {
		t.Errorf("only %d of %d absurd documents were refused", refused, tried)
	}
}

// hostile solves a document, and reports whether it was refused.
func hostile(t *testing.T, what, text string) (refused bool) {
	t.Helper()
	defer func() {
		if r := recover(); r != nil {
			t.Errorf("%s: panic: %v", what, r)
		}
	}()
	m, err := ParseModel(strings.NewReader(text))
	if err != nil {
		return true
	}
	r, err := m.Solve()
	if err != nil {
		if s := err.Error(); strings.Contains(s, "NaN") && !strings.Contains(s, "is NaN") {
			t.Errorf("%s: the error speaks of NaN: %v", what, err)
		}
		return true
	}
	raw, err := r.JSON()
	if err != nil {
		t.Errorf("%s: an answer that is no JSON: %v", what, err)
		return false
	}
	var out any
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Errorf("%s: %v", what, err)
	}
	leaves("", out, nil, func(at string, v float64, _ func(any)) {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			t.Errorf("%s: %s is %v", what, at, v)
		}
	})
	return false
}

// TestHostileShapes are documents that are wrong as a whole, or large.
func TestHostileShapes(t *testing.T) {
	many := func(n int, v string) string { return "[" + strings.TrimSuffix(strings.Repeat(v+",", n), ",") + "]" }
	for name, c := range map[string]struct{ doc, want string }{
		"a million stations":           {`{"kind":"closed single-class exact MVA","inputs":{"N":10,"S":` + many(1_000_000, "0.1") + `}}`, "too large"},
		"a million stations, open":     {`{"kind":"open network single class","inputs":{"lam":1,"S":` + many(1_000_000, "0") + `}}`, "too large"},
		"more than may be read":        {`{"kind":"open network single class","inputs":{"lam":1,"S":` + many(3_000_000, "0") + `}}`, "more than"},
		"an unstable station":          {`{"kind":"open network single class","inputs":{"lam":3,"S":[0.1,0.5]}}`, "station"},
		"a negative demand":            {`{"kind":"closed network approximate MVA","inputs":{"N":[3],"S":[[0.1,-0.5]]}}`, "station"},
		"a cycle without an exit":      {`{"kind":"open network single class","inputs":{"lam":1,"S":[0.1,0.1],"P":[[0,1],[1,0]]}}`, ""},
		"a class that reaches nothing": {`{"kind":"closed multi-class exact MVA","inputs":{"N":[2,2],"S":[[0.1,0.2],[0,0]]}}`, ""},
		"layers that call each other":  {`{"kind":"LQN","inputs":{"text":"P 0\np a f\np b f\n-1\nT 0\nt u r ue -1 a\nt x n xe -1 b\nt y n ye -1 a\n-1\nE 0\ns ue 1 -1\ny ue xe 1 -1\ns xe 1 -1\ny xe ye 1 -1\ns ye 1 -1\ny ye xe 1 -1\n-1\n"}}`, ""},
	} {
		m, err := ParseModel(strings.NewReader(c.doc))
		if err == nil {
			_, err = m.Solve()
		}
		if err == nil {
			t.Errorf("%s: want an error", name)
		} else if !strings.Contains(err.Error(), c.want) || len(err.Error()) > 500 {
			t.Errorf("%s: %.600v: want %q in a line", name, err, c.want)
		}
	}
	// As large as it may be, it ends.
	for name, doc := range map[string]string{
		"ten thousand stations": `{"kind":"closed network approximate MVA","inputs":{"N":[100],"S":[` + many(10_000, "0.1") + `]}}`,
		"a large population":    `{"kind":"closed single-class exact MVA","inputs":{"N":1000000,"S":` + many(1000, "0.1") + `}}`,
		"many classes":          `{"kind":"closed network approximate MVA","inputs":{"N":` + many(100, "5") + `,"S":` + many(100, many(100, "0.1")) + `}}`,
	} {
		begin := time.Now()
		hostile(t, name, doc)
		t.Logf("%s: %v", name, time.Since(begin))
	}
}
