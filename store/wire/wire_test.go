package wire

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/banyanhq/banyan/store/attr"
)

func TestValues(t *testing.T) {
	deep := func(n int) string { return strings.Repeat(`{"L":[`, n) + `{"NULL":true}` + strings.Repeat(`]}`, n) }
	for in, want := range map[string]string{
		`{"S":"a"}`: `{"S":"a"}`, `{"S":""}`: `{"S":""}`, ` { "S" : "a" } `: `{"S":"a"}`, `{"S":"\u00e9\ud83d\ude00\n\"\\\/"}`: `{"S":"é😀\n\"\\/"}`,
		`{"N":"1.50"}`: `{"N":"1.5"}`, `{"N":"1e3"}`: `{"N":"1000"}`, `{"B":"AQID"}`: `{"B":"AQID"}`, `{"B":""}`: `{"B":""}`, `{"BOOL":false}`: `{"BOOL":false}`,
		`{"NULL":true}`: `{"NULL":true}`, `{"L":[]}`: `{"L":[]}`, `{"M":{}}`: `{"M":{}}`, `{"M":{"b":{"S":"1"},"a":{"S":"2"}}}`: `{"M":{"a":{"S":"2"},"b":{"S":"1"}}}`,
		`{"SS":["b","a"]}`: `{"SS":["a","b"]}`, `{"NS":["10","9"]}`: `{"NS":["9","10"]}`, `{"BS":["Ag==","AQ=="]}`: `{"BS":["AQ==","Ag=="]}`, `{"S":"a","N":null}`: `{"S":"a"}`,
		deep(32): deep(32),
	} {
		v, err := NewReader([]byte(in)).Value()
		if err != nil || string(AppendValue(nil, v)) != want {
			t.Errorf("%s is %s (%v), want %s", in, AppendValue(nil, v), err, want)
		}
	}
	for in, want := range map[string]string{
		`{}`: "Supplied AttributeValue is empty, must contain exactly one of the supported datatypes", `{"X":"a"}`: "Supplied AttributeValue is empty, must contain exactly one of the supported datatypes",
		`{"S":"a","N":"1"}`: "Supplied AttributeValue has more than one datatypes set, must contain exactly one of the supported datatypes",
		`{"N":""}`:          "The parameter cannot be converted to a numeric value", `{"N":"b"}`: "The parameter cannot be converted to a numeric value: b",
		`{"N":"1e999"}`: string(attr.ErrOverflow), `{"NS":["1","1.0"]}`: "Input collection contains duplicates",
		`{"SS":["b","a","b"]}`: "One or more parameter values were invalid: Input collection [b, a, b] contains duplicates.",
		`{"SS":[]}`:            "One or more parameter values were invalid: An string set  may not be empty",
		`{"NULL":false}`:       "One or more parameter values were invalid: Null attribute value types must have the value of true",
		deep(34):               "Nesting Levels have exceeded supported limits: Attributes with nested levels (lists or maps) exceed 32",
	} {
		_, err := NewReader([]byte(in)).Value()
		var wrong *ValueError
		if !errors.As(err, &wrong) || wrong.Message != want {
			t.Errorf("%s: got %v, want %s", in, err, want)
		}
	}
	for in, want := range map[string]string{
		`{"S":1}`: "NUMBER_VALUE cannot be converted to String", `{"S":true}`: "TRUE_VALUE cannot be converted to String", `{"S":{}}`: "Start of structure or map found where not expected",
		`{"S":[]}`: "Start of list found where not expected", `{"BOOL":"true"}`: "STRING_VALUE cannot be converted to Boolean", `{"B":"x"}`: "Invalid base64 data", `"S"`: "Unexpected value type in payload",
		`{"L":{}}`: "Start of structure or map found where not expected", `{"S":"a"`: "", `{"S":"\ud800"}`: "", "{\"S\":\"\xff\"}": "", "{\"S\":\"a\nb\"}": "", `{"S":"\x"}`: "", `{S:"a"}`: "", `{"S":"a",}`: "", ``: "",
		`{"N":1}`: "NUMBER_VALUE cannot be converted to String", strings.Repeat(`{"M":{"a":`, 10000): "Nesting",
	} {
		_, err := NewReader([]byte(in)).Value()
		var syntax *SyntaxError
		if want == "Nesting" {
			if err == nil {
				t.Errorf("%.30s is taken", in)
			}
		} else if !errors.As(err, &syntax) || syntax.Message != want {
			t.Errorf("%q: got %v, want %q", in, err, want)
		}
	}
}

func TestStringsAreJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.String().Draw(t, "s")
		b := AppendString(nil, s)
		var back string
		if err := json.Unmarshal(b, &back); err != nil || back != s {
			t.Fatalf("%q became %s", s, b)
		}
		theirs, _ := json.Marshal(s)
		for _, text := range [][]byte{b, theirs} {
			if mine, err := NewReader(text).String(); err != nil || mine != s {
				t.Fatalf("%s read as %q: %v", text, mine, err)
			}
		}
	})
}

// FuzzItem wants whatever is read to come back the same, by way of the compact form as well, and what encoding/json refuses to be
// refused.
func FuzzItem(f *testing.F) {
	f.Add([]byte(`{"a":{"S":"x\u00e9"},"b":{"L":[{"N":"-1.5e3"},{"M":{"k":{"BS":["AQ=="]}}}]},"c":{"BOOL":true}}`))
	f.Add([]byte(`{"a":{"NS":["1","2"]},"a":{"NULL":true},"x":{"S":"a","zz":[1,2,{"y":null}]}}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		r := NewReader(in)
		it, err := r.Item()
		if err == nil {
			err = r.End()
		}
		if err != nil {
			return
		}
		if !json.Valid(in) {
			t.Fatalf("%q is no JSON, and was read", in)
		}
		out := AppendItem(nil, it)
		encoded, err := AppendEncoded(nil, attr.AppendItem(nil, it))
		if err != nil || string(encoded) != string(out) {
			t.Fatalf("by the compact form %s (%v), directly %s", encoded, err, out)
		}
		again, err := NewReader(out).Item()
		if err != nil || !attr.EqualItems(it, again) {
			t.Fatalf("%s comes back as %s: %v", out, AppendItem(nil, again), err)
		}
	})
}

// TestStringsOfAnyLength: what does not stand for itself is found wherever it is, among any other bytes.
func TestStringsOfAnyLength(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 40).Draw(t, "length")
		b := make([]byte, n)
		for i := range b {
			b[i] = rapid.SampledFrom([]byte{'a', ' ', '!', '#', '[', ']', 0x7f, '"', '\\', 0x1f, 0, '\n'}).Draw(t, "byte")
		}
		want := 0
		for want < n && b[want] >= ' ' && b[want] != '"' && b[want] != '\\' {
			want++
		}
		if got := skipPlain(string(b), 0); got != want {
			t.Fatalf("%q: the first byte that does not stand for itself is %d, want %d", b, got, want)
		}
		text := AppendString(nil, string(b))
		var same string
		if err := json.Unmarshal(text, &same); err != nil || same != string(b) {
			t.Fatalf("%q is written as %s: %q (%v)", b, text, same, err)
		}
		r := NewReader(text)
		if got, err := r.String(); err != nil || got != string(b) || r.End() != nil {
			t.Fatalf("%s is read as %q (%v)", text, got, err)
		}
	})
	for c := range 256 { // each byte at each place of a word
		for at := range 9 {
			b := []byte("abcdefghi")
			b[at] = byte(c)
			want := at
			if plain[c] {
				want = len(b)
			}
			if got := skipPlain(string(b), 0); got != want {
				t.Errorf("%q: %d, want %d", b, got, want)
			}
		}
	}
}
