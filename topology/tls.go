package topology

import (
	"fmt"
	"net"
)

// TLS says how requests from outside are answered over TLS, by HTTP/1.1 and HTTP/2 as the client chooses (ALPN).
type TLS struct {
	// Listen is the address on which TLS is spoken. Port 0 takes a free port.
	Listen string `yaml:"listen" schema:"format=address,default=127.0.0.1:8443"`
	// Certificates by whose names clients choose (SNI); the first is for clients that name none, or another. Files are
	// read again when they change. Left out: a local authority is made in the state directory, and issues one.
	Certificates []Certificate `yaml:"certificates" schema:"maxItems=1000"`
	// Clients says which certificates clients must show. Left out: none is asked for.
	Clients *TLSClients `yaml:"clients"`
	// MinVersion is the oldest version of TLS that is spoken.
	MinVersion string `yaml:"min_version" schema:"enum=tls1.2|tls1.3,default=tls1.2"`
	// HTTP3 answers HTTP/3 too, on the UDP port of the same number, and tells clients of it (Alt-Svc).
	HTTP3 bool `yaml:"http3"`
	// Redirect answers plain requests from outside with a redirect (308) to the TLS address.
	Redirect bool `yaml:"redirect"`
}

// Certificate of a server, with its key, as PEM files.
type Certificate struct {
	// Cert is the file of the certificate and of those between it and the root, relative to the topology file.
	Cert string `yaml:"cert" schema:"required,format=file"`
	// Key is the file of its private key.
	Key string `yaml:"key" schema:"required,format=file"`
}

// TLSClients says which certificates clients must show.
type TLSClients struct {
	// CA is the file of the authorities, in PEM, whose certificates are accepted.
	CA string `yaml:"ca" schema:"required,format=file"`
	// Require refuses clients without a certificate. Otherwise only wrong ones are refused.
	Require bool `yaml:"require"`
}

// BackendTLS says how TLS is spoken with the replicas of a service.
type BackendTLS struct {
	// CA is the file of the authorities, in PEM, that vouch for the replicas. Left out: those of the machine.
	CA string `yaml:"ca" schema:"format=file"`
	// Cert is the file of the certificate that Banyan shows. Left out: none (no mutual TLS).
	Cert string `yaml:"cert" schema:"format=file"`
	// Key is the file of its private key.
	Key string `yaml:"key" schema:"format=file"`
	// ServerName that the replicas' certificates must have. Left out: the host of their address.
	ServerName string `yaml:"server_name" schema:"maxLength=253"`
}

// The protocols that services are called by.
const (
	// HTTP1 is HTTP/1.1.
	HTTP1 = "http1"
	// H2C is HTTP/2, without TLS by prior knowledge (RFC 9113, 3.3), with TLS by ALPN.
	H2C = "h2c"
	// GRPC is HTTP/2, with calls of gRPC in it.
	GRPC = "grpc"
)

// tls checks the system's TLS and that of its services.
func (c *checker) tls() {
	if t := c.sys.TLS; t != nil {
		s := c.spots[c.sys].child("tls")
		_, port, _ := net.SplitHostPort(t.Listen)
		if t.Listen == c.sys.Listen && port != "0" {
			c.at(s.child("listen"), Problem{Found: quoteFound(t.Listen), Message: "the plain address is the same", Expected: "another port"})
		}
	}
	for _, name := range c.sys.SortedServices() {
		v := c.sys.Services[name]
		for kind, check := range map[string]*Check{"startup": v.Health.Startup, "ready": v.Health.Ready, "live": v.Health.Live} {
			if check != nil && check.GRPC && check.Path != "" {
				c.at(c.spots[v].child("health").child(kind), Problem{Message: "path and grpc are both given", Expected: "one of them"})
			}
		}
		if v.TLS == nil {
			continue
		}
		s := c.spots[v].child("tls")
		if (v.TLS.Cert == "") != (v.TLS.Key == "") {
			c.at(s, Problem{Message: "a certificate needs its key, and a key its certificate", Expected: "both cert and key, or neither"})
		}
		for kind, check := range map[string]*Check{"startup": v.Health.Startup, "ready": v.Health.Ready, "live": v.Health.Live} {
			if !v.External() && check != nil && (check.Path != "" || check.GRPC) {
				c.at(s, Problem{Message: fmt.Sprintf("the %s check speaks plain HTTP, and the service TLS", kind),
					Expected: "a check without a path, which opens a TCP connection"})
			}
		}
	}
}
