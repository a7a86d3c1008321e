package topology

import (
	"strings"
	"testing"
)

func TestSeveralGateways(t *testing.T) {
	const services = "services: {web: {backends: [{address: 'a:1', zone: east}, 'b:1']}, far: {backends: ['c:1']}}\n"
	const peers = "gateways: {listen: 'g1:7946', secret_file: key, peers: ['g1:7946', 'g2:7946', 'g3:7946']}\n"
	for _, tt := range []struct{ name, text, want string }{
		{"all right", peers + "zone: east\n" + services + "routes: [{path: /, to: web, locality: {}, subset: 1, limit: {rate: 1/s, shared: true}}]\n", ""},
		{"no secret", "gateways: {listen: ':1', peers: [':2']}\n" + services, `"secret_file" is missing`},
		{"no peers", "gateways: {listen: ':1', secret_file: k, peers: []}\n" + services, "at least 1"},
		{"no address", "gateways: {listen: ':1', secret_file: k, peers: [here]}\n" + services, "peers[0]: expected an address"},
		{"twice", "gateways: {listen: ':1', secret_file: k, peers: [':2', ':2']}\n" + services, "the peer stands twice"},
		{"too often", "gateways: {listen: ':1', secret_file: k, peers: [':2'], every: 1ms}\n" + services, "10ms"},
		{"no number", "gateways: {listen: ':1', secret_file: k, peers: [':2']}\n" + services + "routes: [{path: /, to: web, subset: 2}]\n", "the number of this gateway is not known"},
		{"no zones", "zone: east\n" + services + "routes: [{path: /, to: far, locality: {}}]\n", "no backend of far says which zone it is in"},
		{"no zones, inbound", "services: {far: {backends: ['c:1'], inbound: {locality: {}}}}\n", "no backend of far"},
		{"no name", "zone: East Coast\n" + services, "zone: "},
	} {
		_, err := Parse(Source{Name: "f", Data: []byte("system: s\n" + tt.text)})
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("%s: %v", tt.name, err)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}

func TestGatewayNumber(t *testing.T) {
	for _, tt := range []struct {
		g             *Gateways
		number, count int
	}{
		{nil, 0, 1},
		{&Gateways{Listen: "b", Peers: []string{"a", "b", "c"}}, 1, 3},
		{&Gateways{Listen: "d", Peers: []string{"a", "b", "c"}}, 3, 4},
	} {
		if n, of := tt.g.Number(); n != tt.number || of != tt.count {
			t.Errorf("%+v: %d of %d, want %d of %d", tt.g, n, of, tt.number, tt.count)
		}
	}
}
