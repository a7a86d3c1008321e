package topology

import (
	"fmt"
	"slices"
)

// Gateways says that several gateways serve the system. They tell each other what they have spent of what they share: the
// budgets of retries and hedges, and the rate limits that are 'shared'.
type Gateways struct {
	// Listen is the address (TCP) at which this one hears of the others.
	Listen string `yaml:"listen" schema:"required,format=address"`
	// Peers are the addresses at which the others hear. This one's own may be among them, so that all can have the same
	// list; where routes have a 'subset' it must, for its place in the list is its number.
	Peers []string `yaml:"peers" schema:"required,minItems=1,maxItems=256"`
	// SecretFile holds what all of them know and nobody else does, 16 to 4096 bytes: they prove by it who they are. It
	// does not hide what they tell.
	SecretFile string `yaml:"secret_file" schema:"required,format=file"`
	// Every is how often they tell. What is left can be spent by several of them within this time.
	Every Duration `yaml:"every" schema:"default=100ms,minimum=10ms,maximum=1s"`
}

// Number returns which of how many gateways this one is, from 0; of those that are not in the list, the last.
func (g *Gateways) Number() (number, count int) {
	if g == nil {
		return 0, 1
	}
	if i := slices.Index(g.Peers, g.Listen); i >= 0 {
		return i, len(g.Peers)
	}
	return len(g.Peers), len(g.Peers) + 1
}

// several checks what goes with several gateways, or with zones.
func (c *checker) several() {
	s := c.spots[c.sys].child("gateways")
	if g := c.sys.Gateways; g != nil {
		for i, p := range g.Peers {
			if problem, ok := checkFormat("address", p); !ok {
				c.at(s.child("peers").item(i), problem)
			}
			if p != "" && slices.Contains(g.Peers[:i], p) {
				c.at(s.child("peers").item(i), Problem{Found: quoteFound(p), Message: "the peer stands twice"})
			}
		}
	}
	for _, name := range c.sys.SortedServices() {
		v := c.sys.Services[name]
		c.inZones(c.spots[v].child("inbound"), v.Inbound, name)
	}
	for _, r := range c.sys.Routes {
		if c.sys.Services[r.To] != nil {
			c.inZones(c.spots[r], r.Inbound, r.To)
		}
	}
}

// inZones checks that what looks at zones, or at the gateway's number, has some.
func (c *checker) inZones(s spot, in Inbound, to string) {
	v, g := c.sys.Services[to], c.sys.Gateways
	zoned := func(b Backend) bool { return b.Zone != "" }
	if at := s.child("locality"); in.Locality != nil && at.node != nil && v.External() && !slices.ContainsFunc(v.Backends, zoned) {
		c.at(at, Problem{Message: fmt.Sprintf("no backend of %s says which zone it is in", to), Expected: "backends: [{address: HOST:PORT, zone: NAME}, ...]"})
	}
	if at := s.child("subset"); in.Subset > 0 && at.node != nil && g != nil && !slices.Contains(g.Peers, g.Listen) {
		c.at(at, Problem{Message: "the number of this gateway is not known: its 'listen' is not among the 'peers' of 'gateways'"})
	}
}
