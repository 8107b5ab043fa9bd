/* The calendar of a real-time clock: seconds since 1970-01-01 00:00 and back, proleptic Gregorian. */
#ifndef LODGE_DEV_CHIPSET_RTC_TIME_H
#define LODGE_DEV_CHIPSET_RTC_TIME_H

#include <stdint.h>

enum { SECONDS_PER_MINUTE = 60, SECONDS_PER_HOUR = 3600, SECONDS_PER_DAY = 86400 };

struct rtc_time {
    uint16_t year;   /* 0..9999 */
    uint8_t month;   /* 1..12 */
    uint8_t day;     /* 1..31 */
    uint8_t weekday; /* 1..7, 1 is Sunday; not looked at by rtc_time_to_seconds() */
    uint8_t hour, minute, second;
};

/* The first and the last second of the years 0 to 9999; what lies outside is taken for the nearer of them. */
#define RTC_SECONDS_MIN (-62167219200ll)
#define RTC_SECONDS_MAX 253402300799ll

struct rtc_time rtc_time_from_seconds(int64_t seconds);

/* Fields beyond their range are taken for the nearest valid value; 31 April is 1 May. */
int64_t rtc_time_to_seconds(const struct rtc_time *time);

#endif
