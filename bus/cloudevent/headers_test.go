package cloudevent

import (
	"testing"

	"github.com/banyanhq/banyan/bus/broker"
)

func TestAttributes(t *testing.T) {
	binary := []broker.Header{{Name: "Ce-Specversion", Value: "1.0"}, {Name: "ce-note", Value: "caf%C3%A9"}, {Name: "content-type", Value: "text/plain"}, {Name: "x-other", Value: "x"}}
	inBody := []broker.Header{{Name: "content-type", Value: "application/cloudevents+json; charset=utf-8"}}
	body := `{"specversion":"1.0","note":"caf\u00e9","n":7,"yes":true,"data":"x","object":{},"list":[],"none":null}`
	for _, c := range []struct {
		headers []broker.Header
		body    string
		name    string
		want    string
		ok      bool
	}{
		{binary, "", "note", "café", true}, {binary, "", "datacontenttype", "text/plain", true}, {binary, "", "other", "", false}, {binary, body, "n", "", false},
		{inBody, body, "note", "café", true}, {inBody, body, "n", "7", true}, {inBody, body, "yes", "true", true}, {inBody, body, "data", "", false},
		{inBody, body, "object", "", false}, {inBody, body, "list", "", false}, {inBody, body, "none", "", false}, {inBody, "{", "note", "", false},
		{[]broker.Header{{Name: "content-type", Value: "text/plain"}}, "", "datacontenttype", "", false},
	} {
		if got, ok := Attributes(c.headers, []byte(c.body))(c.name); got != c.want || ok != c.ok {
			t.Errorf("%v %s: %q, %v", c.headers, c.name, got, ok)
		}
	}
}

func FuzzEncode(f *testing.F) {
	f.Add("café 100% \"\x00")
	f.Fuzz(func(t *testing.T, text string) {
		coded := Encode(text)
		for _, c := range []byte(coded) {
			if c <= ' ' || c >= 0x7f || c == '"' {
				t.Errorf("%q has %q", coded, c)
			}
		}
		if got := Decode(coded); got != text {
			t.Errorf("%q came back as %q", text, got)
		}
	})
}
