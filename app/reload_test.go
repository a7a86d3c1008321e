package app

import (
	"slices"
	"strings"
	"testing"
)

func TestFixedChangesNameWhatTakesARestart(t *testing.T) {
	base := twoServices + "listen: 127.0.0.1:1\n"
	far := strings.Replace(base, "word-list: {layer: business, run: y}", "word-list: {layer: business, backends: ['127.0.0.1:9']}", 1)
	for name, tt := range map[string]struct {
		from, old, now string
		want           []string
	}{
		"nothing":           {base, "", "", nil},
		"a route":           {base, "{path: /, to: web}", "{path: /, to: web, timeout: 3s}", nil},
		"inbound":           {base, "run: y}", "run: y, inbound: {balance: random}, concurrency: 3}", nil},
		"the workload":      {base, "rate: 10/s", "rate: 20/s", nil},
		"the address":       {base, "127.0.0.1:1", "127.0.0.1:2", []string{"listen"}},
		"TLS":               {base, "services:", "tls: {listen: '127.0.0.1:3'}\nservices:", []string{"tls"}},
		"TCP":               {base, "services:", "tcp: [{name: db, listen: '127.0.0.1:3', to: web}]\nservices:", []string{"tcp"}},
		"a program":         {base, "run: y}", "run: z, env: {A: b}}", []string{"services.word-list.run", "services.word-list.env"}},
		"a service":         {base, "  web:", "  more: {run: x}\n  web:", []string{"services.more"}},
		"one elsewhere":     {base, "  web:", "  more: {backends: ['127.0.0.1:4']}\n  web:", nil},
		"its backends":      {far, "127.0.0.1:9", "127.0.0.1:8", nil},
		"its protocol":      {far, "backends: ['127.0.0.1:9']", "protocol: h2c, backends: ['127.0.0.1:9']", []string{"services.word-list.protocol"}},
		"where it runs":     {base, "run: y}", "backends: ['127.0.0.1:9']}", []string{"services.word-list"}},
		"several at a time": {base, "run: y}", "run: y, replicas: 2, limits: {cpu: 1}}", []string{"services.word-list.replicas", "services.word-list.limits"}},
	} {
		if tt.old != "" && !strings.Contains(tt.from, tt.old) {
			t.Fatalf("%s: %q is not in the file", name, tt.old)
		}
		got := fixedChanges(parse(t, tt.from), parse(t, strings.Replace(tt.from, tt.old, tt.now, 1)))
		slices.Sort(got)
		slices.Sort(tt.want)
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}
