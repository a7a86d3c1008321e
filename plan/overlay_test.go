package plan

import (
	"testing"
	"time"

	"github.com/banyanhq/banyan/topology"
)

const overlaid = `version: 1
system: shop
machine: {cores: 2}
services:
  web: {run: "./web", replicas: 2, limits: {cpu: 0.5, memory: 64MiB}, work: {cpu: 4ms}}
  api: {run: "./api", replicas: {min: 1, max: 8}, limits: {cpu: 500m}, work: {cpu: 4ms}}
  mail: {run: "./mail"}
routes:
  - {path: /, to: web}
  - {path: /api, to: api}
`

func TestOverlayIsAcceptedAndChangesWhatItSays(t *testing.T) {
	base := topology.Source{Name: "banyan.yaml", Data: []byte(overlaid)}
	sys, err := topology.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	text, err := Overlay(sys, Options{Replicas: map[string]int{"mail": 3}},
		Remedy{Needed: true, Possible: true, Cores: 5, Services: map[string]Size{"web": {2, 0.73}, "api": {3, 0.5}}})
	if err != nil {
		t.Fatal(err)
	}
	got, err := topology.Parse(base, topology.Source{Name: "more.yaml", Data: text})
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	web, api, mail := got.Services["web"], got.Services["api"], got.Services["mail"]
	if got.Machine.Cores != 5 || web.Replicas.Min != 2 || web.Limits.CPU != 0.73 || web.Limits.Memory != 64<<20 ||
		api.Replicas.Min != 3 || api.Replicas.Max != 8 || api.Limits.CPU != 0.5 || mail.Replicas.Min != 3 || mail.Replicas.Max != 3 {
		t.Errorf("%s\nweb %+v %+v, api %+v %+v, mail %+v", text, web.Replicas, web.Limits, api.Replicas, api.Limits, mail.Replicas)
	}
	for _, r := range []Remedy{{Possible: true}, {Needed: true, Why: "magic is needed"}} {
		if _, err := Overlay(sys, Options{}, r); err == nil {
			t.Errorf("%+v: want an error", r)
		}
	}
}

func TestParseHorizon(t *testing.T) {
	for text, want := range map[string]time.Duration{"18months": 18 * month, "1 year": year, "2years": 2 * year, "1.5quarters": month * 9 / 2,
		"6weeks": 42 * day, "90d": 90 * day, "10day": 10 * day, "36h": 36 * time.Hour} {
		got, err := ParseHorizon(text)
		if d := got - want; err != nil || d > time.Second || d < -time.Second {
			t.Errorf("%q: %v %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "months", "0months", "-1year", "1e9years", "101years", "1.2.3years", "12", "18moons", "NaNyears"} {
		if got, err := ParseHorizon(text); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func FuzzParseHorizon(f *testing.F) {
	f.Add("18months")
	f.Add("1h30m")
	f.Fuzz(func(t *testing.T, text string) {
		if d, err := ParseHorizon(text); err == nil && (d < 0 || d > maxHorizon) {
			t.Errorf("%q: %v", text, d)
		}
	})
}
