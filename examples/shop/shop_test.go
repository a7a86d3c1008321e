package shop

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"golang.org/x/net/html"

	"github.com/banyanhq/banyan/examples/shop/tables"
	"github.com/banyanhq/banyan/examples/shop/tables/tablestest"
)

// visitor is a browser without a script engine: it follows links and fills in
// forms.
type visitor struct {
	t      *testing.T
	client *http.Client
	at     *url.URL
	status int
	page   *html.Node
	text   string
}

func visit(t *testing.T, address string) *visitor {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	at, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return &visitor{t: t, client: &http.Client{Jar: jar}, at: at}
}

func (v *visitor) take(answer *http.Response, err error) {
	v.t.Helper()
	if err != nil {
		v.t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	v.at, v.status, v.text = answer.Request.URL, answer.StatusCode, string(body)
	if v.page, err = html.Parse(strings.NewReader(v.text)); err != nil {
		v.t.Fatal(err)
	}
}

func (v *visitor) get(path string) {
	v.t.Helper()
	v.take(v.client.Get(v.at.ResolveReference(&url.URL{Path: path}).String()))
}

// follow goes where the first link to an address that matches leads.
func (v *visitor) follow(pattern string) {
	v.t.Helper()
	for n := range v.page.Descendants() {
		if n.Data == "a" && regexp.MustCompile(pattern).MatchString(attr(n, "href")) {
			v.get(attr(n, "href"))
			return
		}
	}
	v.t.Fatalf("no link to %s on %s:\n%s", pattern, v.at, v.text)
}

// submit sends the form with an action, with some fields filled in.
func (v *visitor) submit(action string, fill map[string]string) url.Values {
	v.t.Helper()
	for n := range v.page.Descendants() {
		if n.Data != "form" || attr(n, "action") != action {
			continue
		}
		values := url.Values{}
		for field := range n.Descendants() {
			if name := attr(field, "name"); name != "" {
				values.Set(name, attr(field, "value"))
			}
		}
		for name, value := range fill {
			if !values.Has(name) {
				v.t.Fatalf("the form %s has no field %s", action, name)
			}
			values.Set(name, value)
		}
		if strings.EqualFold(attr(n, "method"), "post") {
			v.post(action, values)
		} else {
			v.take(v.client.Get(v.at.ResolveReference(&url.URL{Path: action, RawQuery: values.Encode()}).String()))
		}
		return values
	}
	v.t.Fatalf("no form %s on %s:\n%s", action, v.at, v.text)
	return nil
}

func (v *visitor) post(action string, values url.Values) {
	v.t.Helper()
	v.take(v.client.PostForm(v.at.ResolveReference(&url.URL{Path: action}).String(), values))
}

func (v *visitor) want(status int, says ...string) {
	v.t.Helper()
	for _, s := range says {
		if v.status != status || !strings.Contains(v.text, s) {
			v.t.Fatalf("%s: status %d, want %d with %q:\n%s", v.at, v.status, status, s, v.text)
		}
	}
}

// see gets a page until it says what web has found out in time, which on a busy
// machine may take it more than one try.
func (v *visitor) see(path, says string) {
	v.t.Helper()
	for begun := time.Now(); time.Since(begun) < patience; {
		if v.get(path); v.status == 200 && strings.Contains(v.text, says) {
			return
		}
	}
	v.want(200, says)
}

// patience is how long anything may take.
const patience = time.Minute

func (v *visitor) byID(id string) string {
	for n := range v.page.Descendants() {
		if attr(n, "id") == id && n.FirstChild != nil {
			return n.FirstChild.Data
		}
	}
	return ""
}

func attr(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func TestBuySomething(t *testing.T) { eachKind(t, testBuySomething) }

func testBuySomething(t *testing.T, s *system) {
	s.start(t, 1)
	v := visit(t, s.url("web"))
	v.get("/")
	v.want(200, "Good things", "<svg")
	v.submit("/search", map[string]string{"q": "lamp"})
	v.want(200, "Lamp")
	v.follow(`^/product/\d+$`)
	v.want(200, "Add to cart")
	v.submit("/cart", map[string]string{"quantity": "3"})
	v.want(200, "Your cart", "3 × €")
	v.follow("^/checkout$")
	buyer := map[string]string{"name": "Ann <b>", "email": "ann@example.org", "address": "Road 1", "card": "4000000000000002"}
	v.submit("/checkout", buyer)
	v.want(402, "declined", `value="Ann &lt;b&gt;"`)
	buyer["card"] = "4242 4242 4242 4243"
	v.submit("/checkout", buyer)
	v.want(422, "not the number of a card")
	buyer["card"] = "4242 4242 4242 4242"
	sent := v.submit("/checkout", buyer)
	v.want(200, "Thank you, Ann &lt;b&gt;.", "ending in 4242")
	id := v.byID("order-id")
	if id == "" || v.byID("order-status") != "confirmed" {
		t.Fatalf("order %q: %s", id, v.text)
	}
	// The impatient buyer who sends the form twice has one order.
	v.post("/checkout", sent)
	if again := v.byID("order-id"); again != id {
		t.Fatalf("the same form again: order %q, want %q", again, id)
	}
	v.get("/cart")
	v.want(200, "It is empty")
	// The last limited edition: five pieces, and then no more.
	v.see("/product/2000", "5 of 5 pieces left")
	v.submit("/cart", map[string]string{"quantity": "4"})
	v.follow("^/checkout$")
	v.submit("/checkout", buyer)
	v.want(200, "Thank you")
	v.see("/product/2000", "1 of 5 pieces left")
	v.submit("/cart", map[string]string{"quantity": "2"})
	v.follow("^/checkout$")
	v.submit("/checkout", buyer)
	v.want(409, "2 wanted, 1 left")
	v.get("/nowhere")
	v.want(404, "We cannot find that")

	s.kill("cart", s.balancers["cart"].list()[0])
	v.get("/")
	v.want(200, "Good things")
	v.get("/cart")
	v.want(503, "One moment, please")
	s.kill("catalog", s.balancers["catalog"].list()[0])
	v.get("/")
	v.want(503, "One moment, please")
	s.add("catalog")
	v.get("/")
	v.want(200, "Good things")
}

// call sends JSON and returns the status; 0 if there was no answer.
func call(address, key, body string, out any) int {
	r, err := http.NewRequest(http.MethodPost, address, strings.NewReader(body))
	if err != nil {
		return 0
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Idempotency-Key", key)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0
	}
	if err := json.Unmarshal(data, out); err != nil {
		return 0
	}
	return answer.StatusCode
}

type bought struct {
	ID         string
	Status     string
	TotalCents int64 `json:"total_cents"`
	Lines      []struct {
		Product  int `json:"product_id"`
		Quantity int
	}
}

// buyOne puts one of a product in a new cart and buys it, trying again with
// the same key until there is an answer that means something.
func buyOne(s *system, key string, product int) (status int, o bought) {
	items := fmt.Sprintf(`{"product_id": %d, "quantity": 1}`, product)
	cart, begun := "", time.Now()
	for try := 0; ; try++ {
		cart = fmt.Sprintf("cart-%s-%d", key, try)
		if call(s.url("web")+"/api/cart/"+cart+"/items", "", items, &struct{}{}) == http.StatusCreated {
			break
		}
		if time.Since(begun) > patience {
			return 0, bought{}
		}
	}
	body := fmt.Sprintf(`{"cart": %q, "customer": {"name": "Ann", "email": "a@b.example", "address": "Road 1"}, "card": "4242424242424242"}`, cart)
	for begun = time.Now(); time.Since(begun) < patience; {
		o = bought{}
		status = call(s.url("web")+"/api/checkout", key, body, &o)
		if status != 0 && status < 500 {
			return status, o
		}
	}
	return status, o
}

// Replicas are killed with -9 and replaced all the while that people buy. No
// order that was acknowledged is lost, nothing is oversold, every order is paid
// once. Then everything stops and starts again, and it is all still there.
func TestKillAndRecover(t *testing.T) { eachKind(t, testKillAndRecover) }

func testKillAndRecover(t *testing.T, s *system) {
	s.start(t, 2)
	// Buyers wait for the killer if they are too far ahead of it.
	const buyers, each, ahead = 8, 12, 5
	progress := make(chan struct{}, ahead)
	var mu sync.Mutex
	acknowledged := map[string]bought{}
	limited := map[string]int{}
	var wg sync.WaitGroup
	for b := range buyers {
		wg.Go(func() {
			for n := range each {
				product := 1 + (b*each+n)%1900
				if n%3 == 0 {
					product = 2000
				}
				key := fmt.Sprintf("buyer-%03d-order-%06d", b, n)
				status, o := buyOne(s, key, product)
				mu.Lock()
				switch {
				case status == http.StatusCreated || status == http.StatusOK:
					acknowledged[o.ID] = o
				case status == http.StatusConflict && product == 2000:
				default:
					t.Errorf("%s: status %d", key, status)
				}
				if product == 2000 {
					limited[http.StatusText(status)]++
				}
				mu.Unlock()
				progress <- struct{}{}
			}
		})
	}
	random := rand.New(rand.NewPCG(7, 7))
	stateful := []string{"orders", "payments", "cart"}
	kills, replacements := 0, 0
	for range buyers * each / ahead {
		for range ahead {
			<-progress
		}
		service := stateful[random.IntN(len(stateful))]
		old := s.balancers[service].list()[random.IntN(2)]
		if random.IntN(3) > 0 {
			s.kill(service, old)
			s.add(service)
			kills++
		} else {
			// A rolling replacement: the new one is ready while the old one
			// still serves, on the same files.
			s.add(service)
			s.stop(service, old)
			replacements++
		}
	}
	wg.Wait()
	t.Logf("%d orders, %d kills, %d replacements, limited edition: %v", len(acknowledged), kills, replacements, limited)
	check(t, s, acknowledged)

	for service := range uses {
		for _, p := range s.balancers[service].list() {
			s.stop(service, p)
		}
	}
	for service := range uses {
		s.add(service)
	}
	check(t, s, acknowledged)
}

// approved counts the payments that were taken.
func (s *system) approved() int {
	s.t.Helper()
	if s.tables == "" {
		payments, err := os.ReadFile(filepath.Join(s.data, "payments", "payments.log"))
		if err != nil {
			s.t.Fatal(err)
		}
		return strings.Count(string(payments), `"status":"approved"`)
	}
	found, err := tablestest.Client(s.tables).Scan(s.t.Context(), &dynamodb.ScanInput{TableName: aws.String("payments"), Select: types.SelectCount,
		FilterExpression: aws.String("#status = :approved"), ExpressionAttributeNames: map[string]string{"#status": "status"},
		ExpressionAttributeValues: tables.Item{":approved": tables.Text("approved")}})
	if err != nil {
		s.t.Fatal(err)
	}
	return int(found.Count)
}

func check(t *testing.T, s *system, acknowledged map[string]bought) {
	t.Helper()
	sold := map[int]int{}
	for id, o := range acknowledged {
		var now bought
		status, body := get(t, http.DefaultClient, s.url("web")+"/api/orders/"+id)
		if err := json.Unmarshal([]byte(body), &now); err != nil || status != 200 || now.Status != "confirmed" || now.TotalCents != o.TotalCents {
			t.Errorf("order %s was acknowledged and is now %d %s (%v)", id, status, body, err)
		}
		for _, l := range now.Lines {
			sold[l.Product] += l.Quantity
		}
		status, body = get(t, http.DefaultClient, s.url("payments")+"/payments/"+id)
		if status != 200 || !strings.Contains(body, `"status":"approved"`) || !strings.Contains(body, fmt.Sprintf(`"amount_cents":%d`, o.TotalCents)) {
			t.Errorf("order %s was paid like this: %d %s", id, status, body)
		}
	}
	// Nothing was charged but what was acknowledged.
	if n := s.approved(); n != len(acknowledged) {
		t.Errorf("%d payments for %d orders", n, len(acknowledged))
	}
	if sold[2000] != 5 {
		t.Errorf("%d pieces of the limited edition of 5 were sold", sold[2000])
	}
	for product, n := range sold {
		_, body := get(t, http.DefaultClient, fmt.Sprintf("%s/stock/%d", s.url("orders"), product))
		if want := fmt.Sprintf(`"taken":%d}`, n); !strings.Contains(body, want) {
			t.Errorf("product %d: %s, want %s", product, body, want)
		}
	}
}
