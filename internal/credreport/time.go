package credreport

const (
	secondsOfDay = 24 * 60 * 60
	zoneZ        = 'Z'
	zoneUTC      = "+00:00"
)

// quickDate reads a time at the start of s in one of the two shapes that AWS writes,
// 2026-09-11T13:14:53Z or with +00:00, from 1970 on. It returns the Unix second and how many bytes the
// time takes, 0 when it is of another shape or no time. What it accepts, package time accepts and reads
// the same.
//
// The date and the hour are each read as one 64-bit word: first all bytes are checked at once, then
// neighbouring digits are joined to numbers below 100.
func quickDate(s string) (sec int64, size int) {
	if len(s) < len("2026-09-11T13:14:53Z") {
		return 0, 0
	}
	const (
		dateShape, dateDigits, dateRest = 0x2d30302d30303030, 0x0006060006060606, 0xfff0f0fff0f0f0f0 // 0000-00-
		hourShape, hourDigits, hourRest = 0x30303a3030543030, 0x0606000606000606, 0xf0f0fff0f0fff0f0 // 00T00:00
	)
	date, hour := word64(s[:8])^dateShape, word64(s[8:16])^hourShape
	if (date|(date+dateDigits))&dateRest|(hour|(hour+hourDigits))&hourRest != 0 {
		return 0, 0
	}
	date, hour = date*10+date>>8, hour*10+hour>>8
	year := int(date&0xff)*100 + int(date>>16&0xff)
	month, day := int(date>>40&0xff), int(hour&0xff)
	h, m := int(hour>>24&0xff), int(hour>>48&0xff)
	s10, s1 := s[17]-'0', s[18]-'0'
	if s[16] != ':' || s10 > 5 || s1 > 9 || h > 23 || m > 59 || year < 1970 || !validDay(year, month, day) {
		return 0, 0
	}
	sec = int64(daysSince1970(year, month, day))*secondsOfDay + int64(h*3600+m*60+int(s10)*10+int(s1))
	switch {
	case s[19] == zoneZ:
		return sec, 20
	case len(s) >= 25 && s[19:25] == zoneUTC:
		return sec, 25
	default:
		return 0, 0
	}
}

// word64 is the first eight bytes of s, the first lowest. The compiler makes one load of it.
func word64(s string) uint64 {
	_ = s[7]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

func leap(year uint32) bool { return year%4 == 0 && (year%100 != 0 || year%400 == 0) }

// validDay tells whether the proleptic Gregorian calendar has the day.
func validDay(year, month, day int) bool {
	if day < 1 || month < 1 || month > 12 {
		return false
	}
	// Four bits a month, January lowest but four: how many days above 28.
	const above28 = 0x3_2_3_2_3_3_2_3_2_3_0_3_0
	length := 28 + above28>>(4*month)&0xf
	return day <= length || month == 2 && day == 29 && leap(uint32(year))
}

// daysSince1970 counts the days before a valid date from 1970 on. The year is taken to start in March, so
// that the leap day is its last. Unsigned, for division by a constant is cheaper so.
func daysSince1970(year, month, day int) int {
	y, m := uint32(year), uint32(month)
	if m <= 2 {
		y--
		m += 12
	}
	const shift = 719468 // days from 0000-03-01 to 1970-01-01
	return int(y*365+y/4-y/100+y/400+(153*(m-3)+2)/5) + day - 1 - shift
}
