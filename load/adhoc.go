package load

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// AdHocOptions shape a workload of one request. At most one of Rate, Users and Connections is set.
type AdHocOptions struct {
	// Rate of an open workload, per second, with its Arrivals: poisson (the default) or constant.
	Rate     float64
	Arrivals string
	// Users of a closed workload, who think Think on average between two requests.
	Users int
	Think time.Duration
	// Connections on each of which one request follows the other without a pause: users who do not think. It is what is
	// taken, with 10, where neither Rate nor Users is set.
	Connections int
	// Method, headers and body of the request. Default: GET, or POST where there is a body. ${...} is replaced in them,
	// and in the address, as in a step of a scenario.
	Method  string
	Headers map[string]string
	Body    string
	// Commands of redis://, sent together.
	Commands []string
	// Send is the message of ws:// or the bytes of tcp://, in which \r, \n, \t, \0, \\ and \xHH stand for what they do in Go;
	// Hex are bytes in hexadecimal digits, of tcp:// and grpc://.
	Send, Hex string
	// Until, Match or Length end an answer of tcp://; Match is also the message that is awaited from ws://.
	Until, Match string
	Length       int
	// Call is the method of grpc://, if it is not the address's path, Descriptors the file that describes it, and Messages how
	// many are sent.
	Call, Descriptors string
	Messages          int
	// Publish, to nats://, without asking for an answer. The subject is the path of the address.
	Publish bool
	// Action of dynamodb://, whose input is the Body.
	Action string
	// Stages and ThinkTimes are those of the workload.
	Stages     []topology.Stage
	ThinkTimes string
	// Duration, Warmup and Timeout, by default 30s, none and 30s.
	Duration, Warmup, Timeout time.Duration
	// Thresholds that the run must keep.
	Thresholds []string
}

// AdHoc returns the workload that sends requests for one address, and its target.
func AdHoc(address string, o AdHocOptions) (*topology.Workload, string, error) {
	if !strings.Contains(address, "://") {
		address = "http://" + address
	}
	scheme, rest, _ := strings.Cut(address, "://")
	host, path := rest, "/"
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		host, path = rest[:i], rest[i:]
	}
	if strings.HasPrefix(path, "?") {
		path = "/" + path
	}
	path, _, _ = strings.Cut(path, "#")
	p, known := protocols[scheme]
	if !known {
		return nil, "", fmt.Errorf("address %.200q: scheme %.20q: want one of %s", address, scheme, strings.Join(sortedKeys(protocols), ", "))
	}
	target := scheme + "://" + host
	u, err := url.Parse(target)
	if err != nil {
		return nil, "", fmt.Errorf("address %.200q: %w", address, err)
	} else if u.Hostname() == "" {
		return nil, "", fmt.Errorf("address %.200q: want SCHEME://HOST[:PORT]/PATH", u.Redacted())
	} else if port := u.Port(); port != "" && !isPort(port) {
		return nil, "", fmt.Errorf("address %.200q: want a port from 1 to 65535", u.Redacted())
	}
	if u.User != nil && (p.call == "path" || p.call == "websocket" || p.call == "grpc") { // basic authentication (RFC 7617)
		password, _ := u.User.Password()
		o.Headers = maps.Clone(o.Headers)
		if o.Headers == nil {
			o.Headers = map[string]string{}
		}
		o.Headers["Authorization"] = "Basic " + base64.StdEncoding.EncodeToString([]byte(u.User.Username()+":"+password))
		u.User = nil
		target = u.String()
	}
	set := 0
	open := o.Rate != 0 || len(o.Stages) > 0
	for _, is := range []bool{o.Rate != 0, len(o.Stages) > 0, o.Users != 0, o.Connections != 0 && !open} {
		if is {
			set++
		}
	}
	if set > 1 {
		return nil, "", fmt.Errorf("want at most one of rate, stages, users and connections")
	}
	w := &topology.Workload{
		Rate: topology.Rate(o.Rate), Arrivals: o.Arrivals, Users: o.Users, Think: topology.Duration(o.Think),
		Duration: topology.Duration(o.Duration), Warmup: topology.Duration(o.Warmup), Timeout: topology.Duration(o.Timeout),
		Thresholds: o.Thresholds, Stages: o.Stages, ThinkTimes: o.ThinkTimes,
	}
	if w.Duration == 0 {
		w.Duration = topology.Duration(30 * time.Second)
	}
	if w.Timeout == 0 {
		w.Timeout = topology.Duration(30 * time.Second)
	}
	if w.Arrivals == "" {
		w.Arrivals = "poisson"
	}
	if !open && o.Users == 0 {
		w.Users = o.Connections
		if w.Users == 0 {
			w.Users = 10
		}
	}
	if p.call == "redis" || p.call == "tcp" || p.call == "dynamodb" { // newTarget says which path is one
		target += strings.TrimSuffix(path, "/")
	}
	var step *topology.Step
	if err = o.fits(p.call); err == nil {
		step, err = o.step(p.call, path)
	}
	if err != nil {
		return nil, "", fmt.Errorf("address %.200q: %w", target, err)
	}
	w.Scenarios = map[string]*topology.Scenario{"request": {Steps: []*topology.Step{step}}}
	w.Mix = map[string]topology.Percent{"request": 1}
	return w, target, nil
}

// fits makes sure that every option that was given means something to a call of that kind.
func (o *AdHocOptions) fits(call string) error {
	for _, x := range []struct {
		given bool
		what  string
		calls string
	}{
		{o.Method != "", "a method", "path"},
		{len(o.Headers) > 0, "headers", "path grpc websocket nats"},
		{o.Body != "", "a body", "path grpc nats dynamodb"},
		{len(o.Commands) > 0, "a command", "redis"},
		{o.Send != "", "what is sent", "tcp websocket"},
		{o.Hex != "", "hexadecimal digits", "tcp grpc"},
		{o.Until != "" || o.Length != 0, "the end of an answer", "tcp"},
		{o.Match != "", "what an answer matches", "tcp websocket"},
		{o.Call != "" || o.Descriptors != "" || o.Messages != 0, "a gRPC method, its descriptors or messages", "grpc"},
		{o.Publish, "publishing", "nats"},
		{o.Action != "", "an action", "dynamodb"},
	} {
		if calls := strings.Fields(x.calls); x.given && !slices.Contains(calls, call) {
			var schemes []string
			for _, scheme := range sortedKeys(protocols) {
				if slices.Contains(calls, protocols[scheme].call) {
					schemes = append(schemes, scheme+"://")
				}
			}
			return fmt.Errorf("%s is for %s", x.what, strings.Join(schemes, ", "))
		}
	}
	return nil
}

// step is the one that the options ask for.
func (o *AdHocOptions) step(call, path string) (*topology.Step, error) {
	step := &topology.Step{Headers: o.Headers, Body: braces(o.Body), Weight: 1}
	rest := strings.Trim(path, "/")
	switch call {
	case "path":
		method := o.Method
		if method == "" {
			if method = "GET"; o.Body != "" {
				method = "POST"
			}
		}
		step.Method, step.Path = method, braces(path)
		return step, nil
	case "redis":
		if len(o.Commands) == 0 {
			o.Commands = []string{"PING"}
		}
		for _, c := range o.Commands {
			step.Redis = append(step.Redis, braces(c))
		}
	case "grpc":
		name := o.Call
		if name == "" {
			name = rest
		}
		if step.GRPC = (&topology.GRPCCall{Method: name, Descriptors: o.Descriptors, Messages: o.Messages, Hex: o.Hex}); o.Body != "" {
			var message any
			d := json.NewDecoder(strings.NewReader(step.Body))
			d.UseNumber()
			if err := d.Decode(&message); err != nil {
				return nil, fmt.Errorf("the body of a gRPC call is its message as JSON: %w", err)
			}
			step.JSON, step.Body = message, ""
		}
		return step, nil
	case "websocket":
		send, err := unescape(o.Send)
		if err != nil {
			return nil, err
		}
		step.WebSocket = &topology.WebSocketCall{Path: braces(path), Send: braces(send), Await: o.Match}
	case "tcp":
		send, err := unescape(o.Send)
		if err != nil {
			return nil, err
		}
		until, err := unescape(o.Until)
		if err != nil {
			return nil, err
		}
		step.TCP = &topology.TCPCall{Send: braces(send), Hex: o.Hex, Until: until, Match: o.Match, Length: o.Length}
	case "nats":
		step.NATS = &topology.NATSCall{Subject: braces(rest), Publish: o.Publish}
		return step, nil
	case "dynamodb":
		if step.DynamoDB = o.Action; o.Action == "" {
			step.DynamoDB = "ListTables"
		}
		return step, nil
	}
	return step, nil
}

var bracesPattern = regexp.MustCompile(`\{\{((?:seq|user|iteration|uuid)|(?:random|zipf|pick):[^{}]*)\}\}`)

// braces writes {{seq}} as ${seq}, for a $ is a trap in a shell.
func braces(text string) string { return bracesPattern.ReplaceAllString(text, "$${$1}") }

// unescape reads backslashes as Go does.
func unescape(text string) (string, error) {
	if !strings.Contains(text, `\`) {
		return text, nil
	}
	out, err := strconv.Unquote(`"` + strings.ReplaceAll(strings.ReplaceAll(text, `"`, `\"`), `\0`, `\x00`) + `"`)
	if err != nil {
		return "", fmt.Errorf("text %.60q: its backslashes are not those of Go", text)
	}
	return out, nil
}
