package load

import (
	"fmt"

	"github.com/banyanhq/banyan/topology"
)

// call compiles a step that is not an HTTP request.
func (c *compiler) call(s *topology.Step, sc *scope, to *target, out *step) (err error) {
	if out.name = s.Name; out.name == "" {
		out.name = s.Title()
	}
	switch call := s.Call(); call {
	case "redis", "tcp", "dynamodb":
		if len(s.Headers) > 0 {
			return fmt.Errorf("a step of %s has no headers to send", call)
		}
	}
	switch s.Call() {
	case "redis":
		out.call, err = compileRedis(s.Redis, sc)
	case "tcp":
		out.call, err = compileTCP(s.TCP, sc)
	case "nats":
		out.call, err = c.compileNATS(s, sc)
	case "websocket":
		out.call, err = c.compileWebSocket(s, sc, to)
	case "grpc":
		out.call, err = c.compileGRPC(s, sc, to)
	case "dynamodb":
		out.call, err = c.compileDynamo(s, sc)
	default:
		err = fmt.Errorf("a step of %s is not supported", s.Call())
	}
	return err
}

// payload is the template of a step's body or json.
func (c *compiler) payload(s *topology.Step, sc *scope) (template, error) {
	if s.Form != nil {
		return nil, fmt.Errorf("a form does not go with %s", s.Call())
	}
	var out step
	if err := c.body(s, sc, &out); err != nil {
		return nil, err
	}
	return out.body, nil
}
