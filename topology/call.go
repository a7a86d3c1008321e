package topology

import (
	"fmt"
	"slices"
	"strings"
)

// GRPCCall is a step that calls a method over gRPC. The step's json is the message, by the method's descriptor; its body is
// a message that is sent as it is.
type GRPCCall struct {
	// Method that is called, such as shop.Catalog/Get.
	Method string `yaml:"method" schema:"required"`
	// Descriptors is a file with a FileDescriptorSet ('protoc --include_imports --descriptor_set_out=FILE'), relative to the
	// topology file. Left out: the server is asked by reflection.
	Descriptors string `yaml:"descriptors" schema:"format=file"`
	// Messages that are sent, one after the other, before the client's half of the stream is closed. Where the method
	// answers with a stream, the step ends with its end.
	Messages int `yaml:"messages" schema:"minimum=0,maximum=100000,default=1"`
	// Hex is the message as hexadecimal digits, for a method without a descriptor.
	Hex string `yaml:"hex"`
}

// WebSocketCall is a step over a WebSocket (RFC 6455), which the steps of one run of the scenario share: the first one
// connects. A step with neither send nor await only connects.
type WebSocketCall struct {
	// Path that is connected to, with its query. Left out: that of the target's address.
	Path string `yaml:"path" schema:"format=path"`
	// Send is a text message.
	Send string `yaml:"send"`
	// Await ends the step with the first message that matches this regular expression; others are passed over. Left out: a
	// step that sends does not wait.
	Await string `yaml:"await"`
	// Close ends the connection after the step. It ends with the scenario otherwise.
	Close bool `yaml:"close"`
}

// TCPCall is a step that sends bytes and reads until the answer is whole, by exactly one of length, until and match; with
// none of them nothing is read.
type TCPCall struct {
	// Send is what is sent.
	Send string `yaml:"send"`
	// Hex is what is sent, as hexadecimal digits.
	Hex string `yaml:"hex"`
	// Length of the answer in bytes.
	Length int `yaml:"length" schema:"minimum=0,maximum=67108864"`
	// Until is the text with which the answer ends.
	Until string `yaml:"until"`
	// Match is a regular expression that the answer, as far as it has come, must match for it to be whole.
	Match string `yaml:"match"`
}

// NATSCall is a step that publishes a message, the step's body or json, or sends it as a request and waits for the answer.
type NATSCall struct {
	// Subject of the message.
	Subject string `yaml:"subject" schema:"required"`
	// Publish only: the step ends when the server has taken the message, not with an answer.
	Publish bool `yaml:"publish"`
}

// callKeys are the fields of a step that say what it does, one of which it has.
var callKeys = []string{"path", "redis", "grpc", "websocket", "tcp", "nats", "dynamodb"}

// Call is the field that says what the step does: path, redis, grpc, websocket, tcp, nats or dynamodb.
func (s *Step) Call() string {
	for i, set := range []bool{s.Path != "", len(s.Redis) > 0, s.GRPC != nil, s.WebSocket != nil, s.TCP != nil, s.NATS != nil, s.DynamoDB != ""} {
		if set {
			return callKeys[i]
		}
	}
	return "path"
}

// IsRouted reports whether the step is an HTTP request to the system's own gateway, which routes it; others go elsewhere.
func (s *Step) IsRouted() bool { return s.To == "" && s.Call() == "path" }

// Title is what a step is called in reports where it has no name and takes no route.
func (s *Step) Title() string {
	first := func(text string, words int) string {
		f := strings.Fields(text)
		return strings.Join(f[:min(words, len(f))], " ")
	}
	switch s.Call() {
	case "redis":
		name := first(s.Redis[0], 1)
		if len(s.Redis) > 1 {
			name += fmt.Sprintf(" and %d more", len(s.Redis)-1)
		}
		return "redis " + name
	case "grpc":
		return s.GRPC.Method
	case "websocket":
		switch {
		case s.WebSocket.Send != "":
			return "websocket send"
		case s.WebSocket.Await != "":
			return "websocket await"
		case s.WebSocket.Close:
			return "websocket close"
		}
		return "websocket connect"
	case "tcp":
		return "tcp"
	case "nats":
		if s.NATS.Publish {
			return "publish " + s.NATS.Subject
		}
		return "request " + s.NATS.Subject
	case "dynamodb":
		return s.DynamoDB
	}
	path, _, _ := strings.Cut(s.Path, "?")
	method := s.Method
	if method == "" {
		method = "GET"
	}
	return method + " " + path
}

// call checks that a step does one thing, and has what that needs.
func (c *checker) call(step *Step, s spot) {
	var given []string
	for _, key := range callKeys {
		if s.child(key).node != nil {
			given = append(given, key)
		}
	}
	want := "exactly one of " + strings.Join(callKeys[:len(callKeys)-1], ", ") + " and " + callKeys[len(callKeys)-1]
	switch {
	case len(given) == 0:
		c.at(s, Problem{Message: "it does not say what is requested", Expected: want})
	case len(given) > 1:
		c.at(s.name(given[1]), Problem{Message: "it asks for several things: " + chainWords(given), Expected: want})
	case given[0] != "path" && step.To == "":
		c.at(s, Problem{Message: fmt.Sprintf("a step of %s needs 'to', the address that it goes to", given[0]),
			Expected: "such as to: redis://127.0.0.1:6379"})
	case given[0] != "path":
		for _, key := range []string{"method", "headers", "form"} {
			if key == "method" && step.Method == "GET" {
				continue // the default, written out
			}
			if s.child(key).node != nil && !(key == "headers" && slices.Contains([]string{"grpc", "websocket", "nats"}, given[0])) {
				c.at(s.name(key), Problem{Message: fmt.Sprintf("does not go with %s", given[0])})
			}
		}
	}
	if t := step.TCP; t != nil {
		ends := 0
		for _, set := range []bool{t.Length > 0, t.Until != "", t.Match != ""} {
			if set {
				ends++
			}
		}
		if ends > 1 {
			c.at(s.child("tcp"), Problem{Expected: "at most one of length, until and match"})
		}
		if t.Send != "" && t.Hex != "" {
			c.at(s.child("tcp"), Problem{Expected: "at most one of send and hex"})
		}
	}
}

// Unmodelled says what of the workload predictions and simulations leave out, empty where that is nothing.
func (w *Workload) Unmodelled() string {
	if w == nil {
		return ""
	}
	n := 0
	for _, s := range w.Scenarios {
		for _, step := range s.Steps {
			if !step.IsRouted() {
				n++
			}
		}
	}
	switch n {
	case 0:
		return ""
	case 1:
		return "one step of the workload goes elsewhere than to the system's routes: not modelled, pauses after it neither"
	}
	return fmt.Sprintf("%d steps of the workload go elsewhere than to the system's routes: not modelled, pauses after them neither", n)
}
