package load

import (
	"strings"
	"testing"
)

// An option that means nothing to the scheme is refused by name, not passed over.
func TestAdHocRefusesWhatMeansNothing(t *testing.T) {
	for _, x := range []struct {
		address string
		o       AdHocOptions
		want    string // in the error; empty: none
	}{
		{"http://h/", AdHocOptions{Commands: []string{"PING"}}, "redis://"},
		{"http://h/", AdHocOptions{Publish: true}, "nats://"},
		{"http://h/", AdHocOptions{Until: "x"}, "tcp://"},
		{"redis://h/", AdHocOptions{Headers: map[string]string{"A": "b"}}, "https://"},
		{"redis://h/", AdHocOptions{Body: "x"}, "a body is for"},
		{"tcp://h:1", AdHocOptions{Method: "POST"}, "a method is for"},
		{"ws://h/", AdHocOptions{Action: "GetItem"}, "dynamodb://"},
		{"nats://h/s", AdHocOptions{Messages: 3}, "grpc://"},
		{"dynamodb://h/", AdHocOptions{Send: "x"}, "what is sent is for"},
		{"nats://h/s", AdHocOptions{Headers: map[string]string{"A": "b"}, Body: "x"}, ""},
		{"ws://h/", AdHocOptions{Send: "x", Match: "y", Headers: map[string]string{"A": "b"}}, ""},
		{"redis://h/2", AdHocOptions{Commands: []string{"PING"}}, ""},
	} {
		_, _, err := AdHoc(x.address, x.o)
		if x.want == "" && err != nil || x.want != "" && (err == nil || !strings.Contains(err.Error(), x.want)) {
			t.Errorf("%s with %+v: %v, want %q", x.address, x.o, err, x.want)
		}
	}
}

func TestAdHocAddress(t *testing.T) {
	for address, want := range map[string]string{"h:1/x": "http://h:1", "redis://h/2": "redis://h/2", "redis://u:p@h/": "redis://u:p@h", "tcp://h:1/": "tcp://h:1", "https://h/a?b": "https://h"} {
		if _, target, err := AdHoc(address, AdHocOptions{}); err != nil || target != want {
			t.Errorf("%s: %q, %v, want %q", address, target, err, want)
		}
	}
	w, target, err := AdHoc("http://me:a%20word@h/x", AdHocOptions{})
	if err != nil || target != "http://h" || w.Scenarios["request"].Steps[0].Headers["Authorization"] != "Basic bWU6YSB3b3Jk" {
		t.Errorf("a user: %q, %v, %+v", target, err, w)
	}
}
