package topology

import "testing"

func TestShop(t *testing.T) {
	sys, err := Load("testdata/valid/shop.yaml")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v %+v %+v", sys.Services["web"], sys.Routes[1], sys.Workload.Scenarios["browse"].Steps[1])
}
