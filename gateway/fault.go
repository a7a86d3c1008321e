package gateway

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

// faultKind is an error that the gateway itself answers with. The names are those of RFC 9209 (Proxy-Status), 2.3, as
// far as it has one.
type faultKind uint8

const (
	noFault                faultKind = iota
	destinationUnavailable           // no backend is ready
	connectionLimit                  // all backends are at their limit, and enough requests wait
	connectionRefused
	connectionTimeout
	connectionTerminated // the backend died before its answer was complete
	tlsCertificateError  // the backend's certificate is not one that is trusted, or not for its name
	tlsAlertReceived     // the backend does not want to speak TLS with the gateway, as it is
	protocolError        // the backend's answer is no HTTP
	responseTimeout      // the time-out of the call
	responseIncomplete   // the backend died after the answer's head was passed on
	requestError         // the request cannot be served as it is
	requestTooLarge
	requestTimeout
	shed                // it matters less than what keeps the service busy
	infeasible          // it would not be answered in its time
	injected            // on purpose
	requestDenied       // more requests than the limit allows
	destinationNotFound // no route
	clientClosed        // the client went away
	internalError
	faultKinds int = iota
)

// faultInfo is what each kind is called, and answered with. 499 is never sent: it stands, as elsewhere, for a client
// that did not wait for its answer.
var faultInfo = [...]struct {
	name   string
	status int
}{
	noFault:                {"", 0},
	destinationUnavailable: {"destination_unavailable", http.StatusServiceUnavailable},
	connectionLimit:        {"connection_limit_reached", http.StatusServiceUnavailable},
	connectionRefused:      {"connection_refused", http.StatusBadGateway},
	connectionTimeout:      {"connection_timeout", http.StatusGatewayTimeout},
	connectionTerminated:   {"connection_terminated", http.StatusBadGateway},
	tlsCertificateError:    {"tls_certificate_error", http.StatusBadGateway},
	tlsAlertReceived:       {"tls_alert_received", http.StatusBadGateway},
	protocolError:          {"http_protocol_error", http.StatusBadGateway},
	responseTimeout:        {"http_response_timeout", http.StatusGatewayTimeout},
	responseIncomplete:     {"http_response_incomplete", http.StatusBadGateway},
	requestError:           {"http_request_error", http.StatusBadRequest},
	requestTooLarge:        {"http_request_too_large", http.StatusRequestEntityTooLarge},
	requestTimeout:         {"http_request_timeout", http.StatusRequestTimeout},
	shed:                   {"request_shed", http.StatusServiceUnavailable},
	infeasible:             {"deadline_infeasible", http.StatusServiceUnavailable},
	injected:               {"fault_injected", http.StatusServiceUnavailable},
	requestDenied:          {"http_request_denied", http.StatusTooManyRequests},
	destinationNotFound:    {"destination_not_found", http.StatusNotFound},
	clientClosed:           {"client_closed", 499},
	internalError:          {"proxy_internal_error", http.StatusInternalServerError},
}

func (k faultKind) String() string { return faultInfo[k].name }

// ofClient reports whether the client is at fault, so that it says nothing about the backend.
func (k faultKind) ofClient() bool {
	return k == clientClosed || k == requestError || k == requestTooLarge || k == requestTimeout || k == requestDenied
}

// fault is one such error.
type fault struct {
	kind   faultKind
	detail string        // for people; without anything from inside that a client should not see
	status int           // 0: the kind's own
	late   bool          // only the try took too long: another one may do
	own    bool          // not the backend's: the gateway was short of something, is stopping, or waited for the client
	retry  time.Duration // after which to come again; 0: a second, where that is said at all
}

// blameless reports whether the fault says nothing about the backend.
func (f fault) blameless() bool { return f.own || f.kind.ofClient() }

func (f fault) code() int {
	if f.status != 0 {
		return f.status
	}
	return faultInfo[f.kind].status
}

// problem is the body of an error, RFC 9457.
type problem struct {
	Title     string `json:"title"`
	Status    int    `json:"status"`
	Detail    string `json:"detail"`
	Error     string `json:"error"`
	RequestID string `json:"request_id"`
}

// answer returns the body of the error, and calls set with each field that goes with it; last says that the connection
// closes after it.
func (f fault) answer(requestID string, last bool, set func(name, value string)) []byte {
	code := f.code()
	body, err := json.Marshal(problem{http.StatusText(code), code, f.detail, f.kind.String(), requestID})
	if err != nil {
		body = nil // strings and numbers can always be written
	}
	set("Content-Type", "application/problem+json")
	set("Content-Length", strconv.Itoa(len(body)))
	set("Cache-Control", "no-store")
	set("Proxy-Status", "banyan; error="+f.kind.String())
	set(headerRequestID, requestID)
	if code == http.StatusServiceUnavailable || code == http.StatusTooManyRequests {
		set("Retry-After", strconv.FormatInt(max(1, int64((f.retry+time.Second-1)/time.Second)), 10))
	}
	if last {
		set("Connection", "close")
	}
	return body
}

// write sends the error; last says that the connection closes after it.
func (f fault) write(w http.ResponseWriter, requestID string, last bool) {
	h := w.Header()
	clear(h)
	body := f.answer(requestID, last, h.Set)
	w.WriteHeader(f.code())
	_, _ = w.Write(body) // a client that is gone needs no error
}
