package topology

import (
	"os"
	"strings"
	"testing"
)

// TestThePageIsTrue runs the examples of docs/topology.md: the first is read, the second gives the errors shown.
func TestThePageIsTrue(t *testing.T) {
	const name = "../docs/topology.md"
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	page := string(data)
	examples := strings.Split(page, "```yaml\n")
	if len(examples) != 3 {
		t.Fatalf("the page has %d examples", len(examples)-1)
	}
	source := func(i int) Source {
		text, _, _ := strings.Cut(examples[i], "```")
		return Source{"banyan.yaml", []byte(text)}
	}
	sys, err := Parse(source(1))
	if err != nil {
		t.Fatal(err)
	}
	roundTrip(t, sys)
	_, err = Parse(source(2))
	if err == nil {
		t.Fatal("the second example is right")
	}
	before, rest, _ := strings.Cut(page, "```text\n")
	_, after, _ := strings.Cut(rest, "```")
	golden(t, name, before+"```text\n"+err.Error()+"\n```"+after)
}
