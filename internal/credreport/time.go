package credreport

const (
	secondsOfDay = 24 * 60 * 60
	zoneZ        = 'Z'
	zoneUTC      = "+00:00"
)

// quickDate reads a time at the start of s in one of the two shapes that AWS writes,
// 2026-09-11T13:14:53Z or with +00:00, from 1970 to lastYear. It returns the Unix second and how many bytes the
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
	days, ok := daysSince1970(year, month, day)
	if s[16] != ':' || s10 > 5 || s1 > 9 || h > 23 || m > 59 || !ok {
		return 0, 0
	}
	sec = int64(days)*secondsOfDay + int64(h*3600+m*60+int(s10)*10+int(s1))
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

// lastYear is the last one that the quick way reads.
const lastYear = 2499

// monthStarts are the days since 1970 of the first of each month, from January 1970 to the January after
// lastYear.
var monthStarts = func() (days [(lastYear-1970+1)*12 + 1]int32) {
	length := [12]int32{31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31}
	for i := range len(days) - 1 {
		year, month := 1970+i/12, i%12
		days[i+1] = days[i] + length[month]
		if month == 1 && (year%4 == 0 && (year%100 != 0 || year%400 == 0)) {
			days[i+1]++
		}
	}
	return days
}()

// daysSince1970 counts the days before a date from 1970 to lastYear; false when the calendar has no such day.
func daysSince1970(year, month, day int) (int, bool) {
	if uint(year-1970) > lastYear-1970 || uint(month-1) > 11 || day < 1 {
		return 0, false
	}
	i := uint(year-1970)*12 + uint(month-1)
	n := int(monthStarts[i]) + day - 1
	return n, n < int(monthStarts[i+1])
}

// same22 and same24 tell whether s begins with the 22 or 24 bytes of t: comparisons in registers, which for short
// texts are faster than a call. s is as long at least.
func same22(s, t string) bool {
	return word64(s) == word64(t) && word64(s[8:]) == word64(t[8:]) && word64(s[14:]) == word64(t[14:])
}

func same24(s, t string) bool {
	return word64(s) == word64(t) && word64(s[8:]) == word64(t[8:]) && word64(s[16:]) == word64(t[16:])
}
