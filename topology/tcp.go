package topology

import (
	"fmt"
	"net"
	"strconv"
)

// TCP leads connections from outside to a service as they are, byte by byte.
type TCP struct {
	// Name in metrics.
	Name string `yaml:"name" schema:"required,format=name"`
	// Listen is the address on which connections are accepted. Port 0 takes a free port.
	Listen string `yaml:"listen" schema:"required,format=address"`
	// To is the service that the connections lead to.
	To string `yaml:"to" schema:"required"`
	// Balance is the policy that picks a replica for each connection; those that hash go by the client's address. Left
	// out: the service's own.
	Balance Balance `yaml:"balance" schema:"enum=round-robin|weighted-round-robin|random|least-request|p2c-ewma|prequal|ring-hash|maglev|bounded-hash|rendezvous"`
	// Idle is how long a connection may carry nothing in either direction before it is closed.
	Idle Duration `yaml:"idle" schema:"default=10m,minimum=1ms,maximum=24h"`
	// MaxConnections at once; further ones are closed as they come.
	MaxConnections int `yaml:"max_connections" schema:"default=10000,minimum=1,maximum=1000000"`
	// ProxyProtocol tells the replicas the client's address by the PROXY protocol of this version.
	ProxyProtocol string `yaml:"proxy_protocol" schema:"enum=off|v1|v2,default=off"`
	// AcceptProxy takes the client's address from the PROXY protocol (v1 or v2), which every connection must then begin
	// with. Only from the addresses in 'trusted'; others are closed.
	AcceptProxy bool `yaml:"accept_proxy"`
	// Trusted are the networks whose PROXY protocol is believed, such as 10.0.0.0/8.
	Trusted []string `yaml:"trusted" schema:"maxItems=1000"`
}

// connections checks the bounds on connections of clients.
func (c *checker) connections() {
	if n := c.sys.Connections; n != nil && n.PerClient > n.Max {
		c.at(c.spots[n].child("per_client"), Problem{Found: strconv.Itoa(n.PerClient), Message: fmt.Sprintf("that is more than max (%d), which all clients have together", n.Max)})
	}
}

// tcp checks the TCP listeners.
func (c *checker) tcp() {
	names, listens := map[string]bool{}, map[string]bool{c.sys.Listen: true}
	if c.sys.TLS != nil {
		listens[c.sys.TLS.Listen] = true
	}
	list := c.spots[c.sys].child("tcp")
	for i, t := range c.sys.TCP {
		s := list.item(i)
		if t.To != "" && c.sys.Services[t.To] == nil {
			c.unknown(s.child("to"), "service", t.To, c.sys.SortedServices)
		}
		if names[t.Name] {
			c.at(s.child("name"), Problem{Found: quoteFound(t.Name), Message: "an earlier one has the same name"})
		}
		names[t.Name] = true
		_, port, _ := net.SplitHostPort(t.Listen)
		if listens[t.Listen] && port != "0" {
			c.at(s.child("listen"), Problem{Found: quoteFound(t.Listen), Message: "the address is taken by another listener"})
		}
		listens[t.Listen] = true
		if t.AcceptProxy != (len(t.Trusted) > 0) {
			c.at(s, Problem{Message: "accept_proxy and trusted belong together", Expected: "both or neither"})
		}
		c.networks(s.child("trusted"), t.Trusted)
	}
}

// networks checks a list of networks.
func (c *checker) networks(s spot, networks []string) {
	for i, network := range networks {
		if _, _, err := net.ParseCIDR(network); err != nil {
			c.at(s.item(i), Problem{Found: quoteFound(network), Expected: "a network such as 10.0.0.0/8"})
		}
	}
}
