package topology

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

func parsedFilter(text string) (*EventFilter, error) {
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		return nil, err
	}
	return ParseEventFilter(v)
}

func TestEventFilters(t *testing.T) {
	event := map[string]string{"type": "order.placed", "source": "/shop/eu", "note": ""}
	attribute := func(name string) (string, bool) { v, ok := event[name]; return v, ok }
	for text, want := range map[string]bool{
		`{"exact": {"type": "order.placed"}}`: true, `{"exact": {"type": "order"}}`: false, `{"exact": {"type": "order.placed", "source": "/shop/us"}}`: false,
		`{"prefix": {"type": "order."}}`: true, `{"prefix": {"type": "placed"}}`: false, `{"suffix": {"source": "/eu", "type": "placed"}}`: true, `{"suffix": {"source": "/us"}}`: false,
		`{"exact": {"missing": "x"}}`: false, `{"not": {"exact": {"missing": "x"}}}`: true, `{"prefix": {"note": "x"}}`: false,
		`{"any": [{"exact": {"type": "x"}}, {"prefix": {"source": "/shop"}}]}`: true, `{"any": [{"exact": {"type": "x"}}, {"exact": {"type": "y"}}]}`: false,
		`{"all": [{"exact": {"type": "order.placed"}}, {"not": {"suffix": {"source": "us"}}}]}`: true, `{"all": [{"exact": {"type": "order.placed"}}, {"exact": {"source": "us"}}]}`: false,
		`[{"exact": {"type": "order.placed"}}, {"exact": {"source": "/shop/eu"}}]`: true, `[{"exact": {"type": "order.placed"}}, {"exact": {"source": "us"}}]`: false,
	} {
		f, err := parsedFilter(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if got := f.Match(attribute); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
	if !(*EventFilter)(nil).Match(attribute) {
		t.Error("no filter asks for all")
	}
	many := `{"exact": {` + strings.TrimSuffix(strings.Repeat(`"a%d": "x", `, 101), ", ") + `}}`
	numbers := make([]any, 101)
	for i := range numbers {
		numbers[i] = i
	}
	for text, want := range map[string]string{
		`{}`: "expected one of", `[]`: "empty", `{"exact": {"type": "x"}, "prefix": {"type": "x"}}`: "expected one of", `{"sql": "type = 1"}`: `"sql"`, `{"exact": {}}`: "no attribute",
		`{"exact": {"Type": "x"}}`: "lower case", `{"exact": {"type": 1}}`: "expected a text", `{"exact": {"type": ""}}`: "expected a text", `{"exact": []}`: "attributes",
		`{"all": []}`: "empty", `{"all": {"exact": {"type": "x"}}}`: "a list", `{"not": [{"exact": {"type": "x"}}]}`: "one filter", `"x"`: "expected one of", `null`: "expected one of",
		strings.Repeat(`{"not": `, 8) + `{"exact": {"a": "x"}}` + strings.Repeat("}", 8): "deeper", fmt.Sprintf(many, numbers...): "more than 100",
		`{"exact": {"type": "` + strings.Repeat("x", 1025) + `"}}`: "1 to 1024",
	} {
		if _, err := parsedFilter(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80s: %v, want %q", text, err, want)
		}
	}
}

func FuzzEventFilter(f *testing.F) {
	f.Add(`[{"any": [{"exact": {"type": "a"}}, {"not": {"prefix": {"source": "b"}}}]}, {"all": [{"suffix": {"id": "c"}}]}]`, "a")
	f.Fuzz(func(t *testing.T, text, value string) {
		filter, err := parsedFilter(text)
		if err != nil {
			return
		}
		attribute := func(name string) (string, bool) { return value, name != "id" }
		if not := (&EventFilter{dialect: "not", parts: []*EventFilter{filter}}); not.Match(attribute) == filter.Match(attribute) {
			t.Errorf("%s: it and its opposite match %q", text, value)
		}
	})
}
