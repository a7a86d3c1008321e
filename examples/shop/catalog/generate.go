package main

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// Product is one thing that the shop sells.
type Product struct {
	ID          int    `json:"id"`
	Name        string `json:"name"`
	Category    string `json:"category"`
	Maker       string `json:"maker"`
	Description string `json:"description"`
	PriceCents  int64  `json:"price_cents"`
	// Rating in tenths of a star, 10 to 50, and how many gave one.
	Rating  int `json:"rating"`
	Reviews int `json:"reviews"`
	// Colour of the picture: a hue from 0 to 359 degrees.
	Hue int `json:"hue"`
	// Edition is how many pieces were ever made.
	Edition int64 `json:"edition"`
	// Limited marks the small editions, which are numbered.
	Limited bool `json:"limited,omitempty"`
}

const (
	productCount = 2000
	// The last few products are limited editions of so many pieces; there are
	// enough of the others that no load test sells out.
	limitedProducts = 10
	limitedEdition  = 5
	openEdition     = 1_000_000
)

type category struct {
	name      string
	nouns     []string
	materials []string
	uses      []string
	low, high int // price in whole euros
}

var categories = []category{
	{"Lighting", words("Desk Lamp|Floor Lamp|Pendant Light|Wall Lamp|Table Lamp|Lantern|Reading Light|String Lights|Candle Holder"),
		words("brass|linen|smoked glass|paper|oak|ceramic|steel"), words("long evenings|a reading corner|the hallway|late work"), 19, 260},
	{"Chairs", words("Armchair|Dining Chair|Stool|Rocking Chair|Lounge Chair|Bench|Bar Stool|Folding Chair"),
		words("beech|walnut|rattan|wool|leather|canvas|ash"), words("the kitchen table|a sunny window|the porch|guests who stay late"), 45, 690},
	{"Tables", words("Coffee Table|Side Table|Dining Table|Writing Desk|Console|Nightstand|Workbench"),
		words("oak|pine|marble|walnut|steel|bamboo|terrazzo"), words("a small flat|the whole family|morning coffee|letters and bills"), 59, 980},
	{"Tea", words("Green Tea|Black Tea|Herbal Tea|Oolong|Teapot|Tea Bowl|Tea Tin|Infuser|Chai"),
		words("spring|mountain|smoked|jasmine|porcelain|cast iron|ginger"), words("quiet mornings|the afternoon|cold days|two cups"), 5, 84},
	{"Coffee", words("Espresso Beans|Filter Beans|Pour-over Set|Hand Grinder|Moka Pot|Cup|Kettle|Press"),
		words("dark roast|light roast|washed|copper|ceramic|glass|steel"), words("the first cup|slow Sundays|the office|travellers"), 7, 149},
	{"Kitchen", words("Chef's Knife|Cutting Board|Saucepan|Mixing Bowl|Skillet|Colander|Rolling Pin|Salt Cellar|Baking Dish"),
		words("carbon steel|olive wood|enamel|copper|stoneware|cast iron|maple"), words("everyday cooking|bread days|big dinners|the smallest kitchen"), 9, 189},
	{"Bedding", words("Duvet|Pillow|Blanket|Throw|Sheet Set|Quilt|Bedspread|Mattress Topper"),
		words("linen|wool|down|organic cotton|bamboo|flannel|silk"), words("cold nights|hot summers|light sleepers|the guest room"), 25, 420},
	{"Garden", words("Watering Can|Planter|Secateurs|Hand Trowel|Seed Box|Bird Feeder|Hammock|Garden Hose"),
		words("terracotta|zinc|teak|steel|jute|cedar|recycled"), words("balconies|herbs|roses|weekends outdoors"), 6, 210},
	{"Books", words("Cookbook|Atlas|Field Guide|Novel|Sketchbook|Notebook|Almanac|Poetry Book"),
		words("clothbound|illustrated|pocket|annotated|recycled|letterpress|large print"), words("the bedside|long trains|curious children|rainy days"), 6, 65},
	{"Bags", words("Backpack|Tote|Messenger Bag|Weekender|Pouch|Satchel|Camera Bag"),
		words("waxed canvas|leather|cork|recycled|wool felt|nylon|hemp"), words("the daily ride|short trips|market days|a laptop and lunch"), 15, 320},
	{"Toys", words("Building Blocks|Puzzle|Kite|Spinning Top|Wooden Train|Plush Bear|Board Game|Marble Run"),
		words("beech|cotton|painted|magnetic|paper|wool|maple"), words("small hands|whole afternoons|the windy beach|three generations"), 8, 120},
	{"Music", words("Ukulele|Harmonica|Metronome|Record Crate|Headphones|Speaker|Kalimba|Guitar Strap"),
		words("mahogany|walnut|spruce|aluminium|leather|bamboo|brass"), words("beginners|the campfire|good neighbours|the home studio"), 12, 540},
}

var (
	styles = words("Alder|Amber|Arden|Aster|Birch|Bloom|Brook|Calla|Cedar|Cove|Dale|Dune|Ember|Fern|Fjord|Flint|Grove|" +
		"Harbor|Hazel|Heron|Iris|Juniper|Lark|Linden|Lumen|Maren|Meadow|Mira|Nord|Olive|Onyx|Pebble|Quill|Reed|Rowan|" +
		"Sable|Sol|Sorrel|Tarn|Thistle|Tide|Vale|Vesper|Willow|Wren|Yarrow|Zephyr")
	makers = words("Aalto & Daughters|Bramble Works|Copper Row|Field & Ford|Hearth Union|Kestrel|Low Tide|Månsson|" +
		"North Quarter|Old Mill|Pico|Quiet Goods|Saltmarsh|Three Hills|Umber|Wicker & Co")
	openings = words("Made in small batches from %s, for %s.|A quiet companion in %s, at home with %s.|" +
		"Honest %s, made to be used every day: good for %s.|%s, finished by hand. We like it best for %s.|" +
		"The one we keep ourselves: %s, with %s in mind.")
	closings = words("Ships in a box without plastic.|Can be repaired; spare parts for ten years.|Grows more beautiful with use.|" +
		"Thirty days to change your mind.|Designed by people who use it.|Wipe clean, dry well, keep for ever.")
)

func words(s string) []string { return strings.Split(s, "|") }

// generate makes n products with ids from 1, by rule alone: the same n gives
// the same products in every process. Names are unique.
func generate(n int) []Product {
	r := rand.New(rand.NewPCG(2000, 0x5409))
	pick := func(from []string) string { return from[r.IntN(len(from))] }
	taken := map[string]bool{}
	products := make([]Product, 0, n)
	for id := 1; len(products) < n; id++ {
		c := categories[(id-1)%len(categories)]
		material, use := pick(c.materials), pick(c.uses)
		name := pick(styles) + " " + title(material) + " " + pick(c.nouns)
		for try := 2; taken[name]; try++ {
			name = pick(styles) + " " + title(material) + " " + pick(c.nouns)
			if try > 50 {
				name += fmt.Sprintf(" No. %d", id)
			}
		}
		taken[name] = true
		// Cheap things are more common than dear ones.
		share := r.Float64() * r.Float64()
		euros := int64(float64(c.low) + share*float64(c.high-c.low))
		p := Product{
			ID: id, Name: name, Category: c.name, Maker: pick(makers),
			Description: upperFirst(fmt.Sprintf(pick(openings), material, use)) + " " + pick(closings),
			PriceCents:  euros*100 + []int64{0, 50, 90, 95}[r.IntN(4)],
			Rating:      min(50, 32+r.IntN(12)+r.IntN(8)), Reviews: 1 + int(share*900) + r.IntN(60),
			Hue: r.IntN(360), Edition: openEdition,
		}
		if id > n-limitedProducts {
			p.Edition, p.Limited = limitedEdition, true
			p.Description = fmt.Sprintf("A numbered edition of %d pieces. ", limitedEdition) + p.Description
		}
		products = append(products, p)
	}
	return products
}

// title writes every word with a capital.
func title(s string) string {
	parts := strings.Fields(s)
	for i := range parts {
		parts[i] = upperFirst(parts[i])
	}
	return strings.Join(parts, " ")
}

func upperFirst(s string) string { return strings.ToUpper(s[:1]) + s[1:] }
