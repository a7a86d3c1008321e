//go:build !race

package shop

const raceFlag = "-race=false"
