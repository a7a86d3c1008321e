package topology

import "fmt"

// Backend is one replica of a service that runs elsewhere. A string is short for {address: STRING}.
type Backend struct {
	// Address on which it answers HTTP, host:port.
	Address string `yaml:"address" schema:"required,format=address"`
	// Weight is its share of the requests in relation to others', under the policies that weigh.
	Weight int `yaml:"weight" schema:"minimum=1,maximum=10000,default=1"`
	// Zone that it runs in, for 'locality'. Left out: not known, so that it counts as in another one than any gateway.
	Zone string `yaml:"zone" schema:"format=name"`
}

// External reports whether the service runs elsewhere: Banyan leads calls to it, and neither starts nor scales it.
func (s *Service) External() bool { return len(s.Backends) > 0 }

// external checks a service with backends: what only a service of Banyan's own can have would have no effect.
func (c *checker) external(s spot, v *Service) {
	seen := map[string]bool{}
	for i, b := range v.Backends {
		if b.Address != "" && seen[b.Address] {
			c.at(s.child("backends").item(i), Problem{Found: quoteFound(b.Address), Message: "the backend stands twice"})
		}
		seen[b.Address] = true
	}
	for _, key := range []string{"build", "run", "dir", "env", "scale"} {
		if child := s.child(key); child.node != nil {
			c.at(child, Problem{Message: fmt.Sprintf("%s has no effect on a service that runs elsewhere, at its backends", key),
				Expected: "either backends or " + key})
		}
	}
}
