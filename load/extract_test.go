package load

import (
	"encoding/json"
	"net/http"
	"reflect"
	"testing"
	"time"

	"github.com/banyanhq/banyan/topology"
)

func TestExtract(t *testing.T) {
	const doc = ` {"id": 42, "s": "a\u00e9\n", "items": [ {"id":"x1","p":{"q":[1,2,{"r":true}]}}, {"id":"x2"} ], "null": null, "k\"": "quoted", "f": -1.5e3} `
	tests := []struct {
		from topology.Extract
		body string
		want string
		raw  bool
		none bool
	}{
		{from: topology.Extract{JSON: "id"}, want: "42", raw: true},
		{from: topology.Extract{JSON: "s"}, want: "aé\n"},
		{from: topology.Extract{JSON: "items.1.id"}, want: "x2"},
		{from: topology.Extract{JSON: "$.items.0.p.q.2.r"}, want: "true", raw: true},
		{from: topology.Extract{JSON: "items.0.p.q"}, want: `[1,2,{"r":true}]`, raw: true},
		{from: topology.Extract{JSON: `k"`}, want: "quoted"},
		{from: topology.Extract{JSON: "f"}, want: "-1.5e3", raw: true},
		{from: topology.Extract{JSON: "null"}, none: true},
		{from: topology.Extract{JSON: "nothing"}, none: true},
		{from: topology.Extract{JSON: "items.2.id"}, none: true},
		{from: topology.Extract{JSON: "items.-1"}, none: true},
		{from: topology.Extract{JSON: "id.x"}, none: true},
		{from: topology.Extract{JSON: "0.1"}, body: `[[1,"two"]]`, want: "two"},
		{from: topology.Extract{JSON: "a"}, body: `{"a":`, none: true},
		{from: topology.Extract{JSON: "a"}, body: `<html>`, none: true},
		{from: topology.Extract{JSON: "a"}, body: ``, none: true},
		{from: topology.Extract{Regex: `token=(\w+)`}, body: "x token=abc y", want: "abc"},
		{from: topology.Extract{Regex: `to.en`}, body: "x token=abc y", want: "token"},
		{from: topology.Extract{Regex: `a|(b)`}, body: "a", none: true},
		{from: topology.Extract{Regex: `z`}, body: "a", none: true},
	}
	for _, tt := range tests {
		body := tt.body
		if body == "" && tt.from.JSON != "a" {
			body = doc
		}
		x, err := compileExtraction("v", &tt.from)
		if err != nil {
			t.Fatal(err)
		}
		var v value
		if ok := x.fromBody([]byte(body), &v); ok == tt.none || ok && (string(v.text) != tt.want || v.raw != tt.raw) {
			t.Errorf("%+v of %s: %t %q raw %t", tt.from, body, ok, v.text, v.raw)
		}
	}
}

// The scanner finds what encoding/json finds in documents that it takes.
func FuzzFindJSON(f *testing.F) {
	f.Add([]byte(`{"a":{"b":[1,"x",null,{"c":-1.5e+7}]},"d":"\u00e9\n"}`), "a")
	f.Add([]byte(`[[],{},[{}],"\\\"",0.1,true]`), "2")
	f.Fuzz(func(t *testing.T, data []byte, key string) {
		var whole any
		valid := json.Unmarshal(data, &whole) == nil
		s := &scanner{data: data}
		s.space()
		err := s.skip(0)
		s.space()
		if valid && err != nil && json.Valid(data) && depthOf(data) < maxJSONDepth {
			t.Fatalf("%q: %v", data, err)
		}
		if err == nil && s.pos == len(data) != json.Valid(data) {
			t.Fatalf("%q: taken by one and not by the other", data)
		}
		object, ok := whole.(map[string]any)
		if !ok || !valid || depthOf(data) >= maxJSONDepth {
			return
		}
		plain, err := json.Marshal(object) // every key once
		if err != nil {
			t.Fatal(err)
		}
		raw, err := findJSON(plain, []string{key})
		want, has := object[key]
		if has != (err == nil) {
			t.Fatalf("%q of %s: %v", key, plain, err)
		}
		var got any
		if has && (json.Unmarshal(raw, &got) != nil || !reflect.DeepEqual(got, want)) {
			t.Fatalf("%q of %s: %s, want %v", key, plain, raw, want)
		}
	})
}

func depthOf(data []byte) (deepest int) {
	depth := 0
	for _, c := range data {
		if c == '{' || c == '[' {
			depth++
			deepest = max(deepest, depth)
		}
	}
	return deepest
}

func TestCookies(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	past := now.Add(-time.Hour).Format(http.TimeFormat)
	tests := []struct {
		name string
		set  []string // by answers to /shop/list
		path string
		want string
	}{
		{"plain", []string{"a=1; Path=/"}, "/x", "a=1"},
		{"two", []string{"a=1; Path=/", "b=2;path=/; HttpOnly; Secure"}, "/", "a=1; b=2"},
		{"replaced", []string{"a=1; Path=/", "a=2; Path=/"}, "/", "a=2"},
		{"default path", []string{"a=1"}, "/shop/x", "a=1"},
		{"outside of the default path", []string{"a=1"}, "/other", ""},
		{"not a prefix of a word", []string{"a=1; Path=/sh"}, "/shop", ""},
		{"removed by Max-Age", []string{"a=1; Path=/", "a=; Path=/; Max-Age=0"}, "/", ""},
		{"removed by Expires", []string{"a=1; Path=/", "a=; Path=/; Expires=" + past}, "/", ""},
		{"Max-Age wins", []string{"a=1; Path=/; Max-Age=60; Expires=" + past}, "/", "a=1"},
		{"nonsense", []string{"", "=x", "novalue", ";;;"}, "/", ""},
	}
	for _, tt := range tests {
		var j jar
		for _, line := range tt.set {
			j.set([]byte(line), "/shop/list", now)
		}
		want := ""
		if tt.want != "" {
			want = "Cookie: " + tt.want + "\r\n"
		}
		if got := string(j.append(nil, []byte(tt.path))); got != want {
			t.Errorf("%s: %q, want %q", tt.name, got, want)
		}
	}
	var j jar
	for i := range 1000 {
		j.set([]byte{byte('a' + i%26), byte('a' + i/26), '=', 'x'}, "/", now)
	}
	if len(j.cookies) > maxCookies {
		t.Errorf("%d cookies are kept", len(j.cookies))
	}
}
