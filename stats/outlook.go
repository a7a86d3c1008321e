package stats

// Outlook is what a rate is to be reckoned with in the time ahead.
type Outlook struct {
	// Until is the largest until what is started now serves, Beyond the largest in all of the time that is looked ahead.
	// Both are zero when nothing is forecast.
	Until, Beyond float64
	// Skill is 1 - (error of the forecast / error of the last value), of late: above 0 the forecast is better.
	Skill float64
	// Model that weighs most.
	Model string
	// Ready says that it has been scored often enough to be gone by.
	Ready bool
	// Masked says that the latest value was none, or was taken for a fault of whoever measured it.
	Masked bool
}
