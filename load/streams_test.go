package load

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"google.golang.org/grpc"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/reflection"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/banyanhq/banyan/topology"
)

// streams answers calls of all four kinds.
type streams struct {
	testpb.UnimplementedTestServiceServer
}

// StreamingInputCall counts what comes in.
func (streams) StreamingInputCall(in grpc.ClientStreamingServer[testpb.StreamingInputCallRequest, testpb.StreamingInputCallResponse]) error {
	n, bytes := int32(0), 0
	for {
		m, err := in.Recv()
		if errors.Is(err, io.EOF) {
			return in.SendAndClose(&testpb.StreamingInputCallResponse{AggregatedPayloadSize: 1000*n + int32(bytes)})
		}
		if err != nil {
			return err
		}
		n++
		bytes += len(m.GetPayload().GetBody())
	}
}

// FullDuplexCall answers each message at once with as much as it asks for.
func (streams) FullDuplexCall(both grpc.BidiStreamingServer[testpb.StreamingOutputCallRequest, testpb.StreamingOutputCallResponse]) error {
	for {
		m, err := both.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, p := range m.GetResponseParameters() {
			if err := both.Send(&testpb.StreamingOutputCallResponse{Payload: &testpb.Payload{Body: make([]byte, p.GetSize())}}); err != nil {
				return err
			}
		}
	}
}

// descriptorFile writes the files that describe a service, those that they import too.
func descriptorFile(t *testing.T, file protoreflect.FileDescriptor) string {
	t.Helper()
	set := &descriptorpb.FileDescriptorSet{}
	seen := map[string]bool{}
	var add func(f protoreflect.FileDescriptor)
	add = func(f protoreflect.FileDescriptor) {
		if seen[f.Path()] {
			return
		}
		seen[f.Path()] = true
		for i := range f.Imports().Len() {
			add(f.Imports().Get(i).FileDescriptor)
		}
		set.File = append(set.File, protodesc.ToFileDescriptorProto(f))
	}
	add(file)
	raw, err := proto.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "test.binpb")
	if err := os.WriteFile(path, raw, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestGRPCStreams(t *testing.T) {
	t.Parallel()
	for _, withReflection := range []bool{true, false} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		s := grpc.NewServer()
		testpb.RegisterTestServiceServer(s, streams{})
		descriptors := ""
		if withReflection {
			reflection.Register(s)
		} else {
			descriptors = descriptorFile(t, testpb.File_grpc_testing_test_proto)
		}
		go func() { _ = s.Serve(l) }()
		t.Cleanup(s.Stop)
		call := func(method string, messages int) *topology.GRPCCall {
			return &topology.GRPCCall{Method: "grpc.testing.TestService/" + method, Messages: messages, Descriptors: descriptors}
		}
		three := map[string]any{"response_parameters": []any{map[string]any{"size": 3}}}
		r := sentWith(t, Config{Target: "grpc://" + l.Addr().String()}, false,
			&topology.Step{Name: "client stream", GRPC: call("StreamingInputCall", 5), JSON: map[string]any{"payload": map[string]any{"body": "AAAA"}}, Expect: &topology.Expect{Contains: "5015"}},
			&topology.Step{Name: "both ways", GRPC: call("FullDuplexCall", 3), JSON: three, Expect: &topology.Expect{Contains: "AAAA\"}}\n{"}},
			// More than both windows of flow control hold: whoever sends all before he reads would never end.
			&topology.Step{Name: "much both ways", GRPC: call("FullDuplexCall", 60), JSON: map[string]any{"payload": map[string]any{"body": "${pick:" + longBase64 + "}"}, "response_parameters": []any{map[string]any{"size": 30000}}}},
			&topology.Step{Name: "one", GRPC: call("EmptyCall", 0)})
		wantKinds(t, r, map[string]Kind{"client stream": "", "both ways": "", "much both ways": "", "one": "grpc unimplemented"})
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	broken := filepath.Join(t.TempDir(), "broken.binpb")
	if err := os.WriteFile(broken, []byte("\xff\xff\xff"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{broken, filepath.Join(t.TempDir(), "none"), descriptorFile(t, descriptorpb.File_google_protobuf_descriptor_proto)} {
		w := getWorkload()
		w.Rate = 1
		w.Scenarios["s"].Steps = []*topology.Step{{GRPC: &topology.GRPCCall{Method: "grpc.testing.TestService/EmptyCall", Descriptors: file}}}
		if _, err := Run(t.Context(), Config{Target: "grpc://" + l.Addr().String(), Workload: w}); err == nil {
			t.Errorf("descriptors %s were accepted", file)
		}
	}
}

// longBase64 is 24,000 zero bytes.
var longBase64 = func() string {
	b := make([]byte, 32000)
	for i := range b {
		b[i] = 'A'
	}
	return string(b)
}()

// Headers of a NATS step arrive, for requests and for what is published.
func TestNATSHeaders(t *testing.T) {
	t.Parallel()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	go s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(time.Minute) {
		t.Fatal("the server does not start")
	}
	c, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if _, err := io.WriteString(c, "CONNECT {\"verbose\":false,\"headers\":true}\r\nSUB s.> 1\r\nPING\r\n"); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(c)
	for line := ""; line != "PONG\r\n"; {
		if line, err = in.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	var mu sync.Mutex
	seen := map[string]int{}
	go natsEcho(c, in, func(subject, headers, body string) {
		mu.Lock()
		defer mu.Unlock()
		seen[subject+" "+headers+body]++
	})
	r := sent(t, "nats://"+s.Addr().String(), false,
		&topology.Step{Name: "publish", NATS: &topology.NATSCall{Subject: "s.p", Publish: true}, Headers: map[string]string{"Nats-Msg-Id": "id ${user}", "A": "x"}, Body: "hello"},
		&topology.Step{Name: "request", NATS: &topology.NATSCall{Subject: "s.r"}, Headers: map[string]string{"Trace": "${user}"}, Body: "10\n", Expect: &topology.Expect{Contains: "10"}},
		&topology.Step{Name: "none", NATS: &topology.NATSCall{Subject: "s.n"}, Body: "0\n", Expect: &topology.Expect{Contains: "0"}})
	wantKinds(t, r, map[string]Kind{"publish": "", "request": "", "none": ""})
	arrived := func(want *regexp.Regexp) bool {
		mu.Lock()
		defer mu.Unlock()
		for message := range seen {
			if want.MatchString(message) {
				return true
			}
		}
		return false
	}
	// Which user meets which step is left to the run.
	for _, want := range []*regexp.Regexp{
		regexp.MustCompile(`^s\.p NATS/1\.0\r\nA: x\r\nNats-Msg-Id: id \d+\r\n\r\nhello$`),
		regexp.MustCompile(`^s\.r NATS/1\.0\r\nTrace: \d+\r\n\r\n10\n$`),
		regexp.MustCompile(`^s\.n 0\n$`),
	} {
		for deadline := time.Now().Add(time.Minute); !arrived(want); time.Sleep(time.Millisecond) { // nobody answers to what is published
			if time.Now().After(deadline) {
				mu.Lock()
				t.Fatalf("%v did not arrive: %v", want, seen)
			}
		}
	}
	for _, bad := range []map[string]string{{"A B": "x"}, {"A": "x\r\ny"}, {"A": "${nothing}"}} {
		w := getWorkload()
		w.Rate = 1
		w.Scenarios["s"].Steps = []*topology.Step{{NATS: &topology.NATSCall{Subject: "s"}, Headers: bad}}
		if _, err := Run(t.Context(), Config{Target: "nats://" + s.Addr().String(), Workload: w}); err == nil {
			t.Errorf("headers %v were accepted", bad)
		}
	}
}

// natsEcho answers each message that asks for an answer with its own, and tells of all; it ends with the connection.
func natsEcho(c net.Conn, in *bufio.Reader, tell func(subject, headers, body string)) {
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		words := strings.Fields(line)
		if words[0] == "PING" {
			_, _ = io.WriteString(c, "PONG\r\n")
		}
		if words[0] != "MSG" && words[0] != "HMSG" {
			continue
		}
		size, _ := strconv.Atoi(words[len(words)-1])
		raw := make([]byte, size+2)
		if _, err := io.ReadFull(in, raw); err != nil {
			return
		}
		head, plain := 0, 4 // words of a message without a subject to answer to
		if words[0] == "HMSG" {
			head, _ = strconv.Atoi(words[len(words)-2])
			plain = 5
		}
		body := string(raw[head:size])
		if len(words) > plain {
			_, _ = io.WriteString(c, "PUB "+words[3]+" "+strconv.Itoa(len(body))+"\r\n"+body+"\r\n")
		}
		tell(words[1], string(raw[:head]), body)
	}
}
