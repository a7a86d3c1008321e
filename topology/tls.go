package topology

import (
	"net"
	"strings"
)

// TLS says how requests from outside are answered over TLS, by HTTP/1.1 and HTTP/2 as the client chooses (ALPN).
type TLS struct {
	// Listen is the address on which TLS is spoken. Port 0 takes a free port.
	Listen string `yaml:"listen" schema:"format=address,default=127.0.0.1:8443"`
	// Certificates by whose names clients choose (SNI); the first is for clients that name none, or another. Files are
	// read again when they change. Left out: a local authority is made in the state directory, and issues one.
	Certificates []Certificate `yaml:"certificates" schema:"maxItems=1000"`
	// ACME has certificates issued, and renewed, by an authority that speaks ACME (RFC 8555). Not together with
	// 'certificates'.
	ACME *ACME `yaml:"acme"`
	// Clients says which certificates clients must show. Left out: none is asked for.
	Clients *TLSClients `yaml:"clients"`
	// MinVersion is the oldest version of TLS that is spoken.
	MinVersion string `yaml:"min_version" schema:"enum=tls1.2|tls1.3,default=tls1.2"`
	// HTTP3 answers HTTP/3 too, on the UDP port of the same number, and tells clients of it (Alt-Svc).
	HTTP3 bool `yaml:"http3"`
	// AcceptProxyFrom is the same as the system's own, of connections to this address: the PROXY protocol comes before TLS.
	AcceptProxyFrom []string `yaml:"accept_proxy_from" schema:"maxItems=1000"`
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

// The ways in which an authority can be shown that a name is ours.
const (
	// TLSALPN answers in a handshake at port 443 (RFC 8737).
	TLSALPN = "tls-alpn-01"
	// HTTP01 answers a request at port 80 (RFC 8555, 8.3).
	HTTP01 = "http-01"
)

// ACME says which authority issues certificates, and for which names. To use it is to agree to the authority's terms.
type ACME struct {
	// Domains that certificates are issued for, each one of its own.
	Domains []string `yaml:"domains" schema:"required,minItems=1,maxItems=100"`
	// Directory is the URL of the authority. Left out: Let's Encrypt.
	Directory string `yaml:"directory" schema:"format=url,default=https://acme-v02.api.letsencrypt.org/directory"`
	// Email that the authority can write to.
	Email string `yaml:"email" schema:"maxLength=320"`
	// CA is the file of the authorities, in PEM, that vouch for the directory's own server. Left out: those of the machine.
	CA string `yaml:"ca" schema:"format=file"`
	// Challenge by which the authority is shown that the names are ours: tls-alpn-01 comes to port 443, and must reach the
	// TLS address; http-01 comes to port 80, and must reach 'listen'.
	Challenge string `yaml:"challenge" schema:"enum=tls-alpn-01|http-01,default=tls-alpn-01"`
	// Storage is the folder for accounts, keys and certificates. Gateways that share it share them. Left out: 'acme' in the
	// state directory.
	Storage string `yaml:"storage" schema:"format=file"`
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
	c.networks(c.spots[c.sys].child("accept_proxy_from"), c.sys.AcceptProxyFrom)
	if t := c.sys.TLS; t != nil {
		s := c.spots[c.sys].child("tls")
		c.networks(s.child("accept_proxy_from"), t.AcceptProxyFrom)
		if t.ACME != nil {
			c.acme(s, t)
		}
		if t.HTTP3 && len(t.AcceptProxyFrom) > 0 {
			c.at(s.child("http3"), Problem{Message: "the PROXY protocol is not supported over QUIC, so that nobody could say whose a connection is",
				Expected: "no http3 where accept_proxy_from is given"})
		}
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
	}
}

// acme checks what certificates are issued for.
func (c *checker) acme(s spot, t *TLS) {
	if len(t.Certificates) > 0 {
		c.at(s.child("acme"), Problem{Message: "certificates and acme are both given", Expected: "one of them"})
	}
	seen := map[string]bool{}
	for i, name := range t.ACME.Domains {
		at := s.child("acme").child("domains").item(i)
		switch {
		case strings.Contains(name, "*"):
			c.at(at, Problem{Found: quoteFound(name), Message: "a wildcard needs the challenge dns-01, which is not supported", Expected: "each name by itself"})
		case !isDomain(name):
			c.at(at, Problem{Found: quoteFound(name), Expected: "a name such as shop.example.com, in lower case"})
		case seen[name]:
			c.at(at, Problem{Found: quoteFound(name), Message: "an earlier one is the same"})
		}
		seen[name] = true
	}
}

// isDomain reports whether a name is one that DNS can have, in lower case (RFC 1123, 2.1).
func isDomain(name string) bool {
	if len(name) == 0 || len(name) > 253 {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if len(label) == 0 || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return false
		}
	}
	return true
}
