package bus

import (
	"crypto/subtle"

	"github.com/nats-io/nats-server/v2/server"
)

// natsAccess decides who may talk to the embedded server, and what about. The connections of this process may do everything. Clients may do
// everything but speak where the process speaks to itself: past the schemas of topics, into the journals, or as the node that leads.
type natsAccess struct {
	token string // that clients must give; empty: none
	own   string // that this process gives
	rules *server.Permissions
}

// internalStreams hold what the process needs for itself.
var internalStreams = []string{queuesStream, sagasStream, inboxStream, outboxStream}

// newNATSAccess makes the rules for the clients of a bus. The server looks at them when it has mapped a subject, so what mapQueues maps to
// (apiPrefix, toCheckPrefix) must stay open; whoever publishes there comes to the same checks. What is not open to clients is listed
// in docs/bus.md.
func newNATSAccess(cfg Config, own string) *natsAccess {
	closed := []string{checkedPrefix + ">", outboxSubject + ">", queuesSubject, sagasSubject, inboxSubject, leaderSubject}
	for _, s := range internalStreams {
		for _, of := range []string{"STREAM.*.", "STREAM.*.*.", "CONSUMER.*.", "CONSUMER.*.*.", "DIRECT.GET."} {
			closed = append(closed, "$JS.API."+of+s, "$JS.API."+of+s+".>")
		}
		closed = append(closed, "$JS.ACK."+s+".>")
	}
	for name, t := range cfg.Topics {
		if !t.external() {
			// The file says what a topic is: a stream that takes other subjects, or that is another one, takes events that nobody checked.
			closed = append(closed, "$JS.API.STREAM.UPDATE."+name, "$JS.API.STREAM.DELETE."+name)
		}
	}
	return &natsAccess{token: cfg.Token, own: own, rules: &server.Permissions{
		Publish:   &server.SubjectPermission{Deny: closed},
		Subscribe: &server.SubjectPermission{Deny: []string{"_BUS.>"}},
	}}
}

// Check is part of server.Authentication. Leaf nodes and other nodes are checked elsewhere.
func (a *natsAccess) Check(c server.ClientAuthentication) bool {
	given := c.GetOpts().Token
	if sameToken(given, a.own) {
		c.RegisterUser(&server.User{})
		return true
	}
	if a.token != "" && !sameToken(given, a.token) {
		return false
	}
	c.RegisterUser(&server.User{Permissions: a.rules})
	return true
}

func sameToken(x, y string) bool { return subtle.ConstantTimeCompare([]byte(x), []byte(y)) == 1 }

// control has a server go by the rules.
func (a *natsAccess) control(o *server.Options) {
	o.CustomClientAuthentication = a
	if a.token == "" {
		// So that clients are not told that they need credentials; Check is asked all the same.
		o.Users, o.NoAuthUser = []*server.User{{Username: anyClient}}, anyClient
	}
}

const anyClient = "client"
