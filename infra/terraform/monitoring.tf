resource "huaweicloud_lts_group" "this" {
  group_name  = var.name
  ttl_in_days = var.log_days
}

resource "huaweicloud_lts_stream" "this" {
  group_id    = huaweicloud_lts_group.this.id
  stream_name = "function"
}

resource "huaweicloud_smn_topic" "alarms" {
  name         = "${var.name}-alarms"
  display_name = var.name
}

resource "huaweicloud_smn_subscription" "mail" {
  for_each = toset(var.alarm_emails)

  topic_urn = huaweicloud_smn_topic.alarms.topic_urn
  protocol  = "email"
  endpoint  = each.value
}

locals {
  function_alarms = {
    failed = {
      metric      = "failcount"
      description = "Calls of the function fail: read its log, then run snapshot-backup doctor"
      level       = 2
    }
    discarded = {
      metric      = "rejectcount"
      description = "Calls exceed the account's concurrency, so the platform discards them and their messages: raise the concurrency"
      level       = 1
    }
  }
}

resource "huaweicloud_ces_alarmrule" "function" {
  for_each = local.function_alarms

  alarm_name           = "${var.name}-${each.key}"
  alarm_description    = each.value.description
  alarm_type           = "MULTI_INSTANCE"
  alarm_action_enabled = true

  metric {
    namespace = "SYS.FunctionGraph"
  }

  resources {
    dimensions {
      name  = "package-functionname"
      value = "${huaweicloud_fgs_function.this.app}-${huaweicloud_fgs_function.this.name}"
    }
  }

  condition {
    metric_name         = each.value.metric
    period              = 300
    filter              = "sum"
    comparison_operator = ">"
    value               = 0
    count               = 1
    suppress_duration   = 3600
    alarm_level         = each.value.level
  }

  alarm_actions {
    type              = "notification"
    notification_list = [huaweicloud_smn_topic.alarms.topic_urn]
  }
}

resource "huaweicloud_ces_alarmrule" "backlog" {
  alarm_name           = "${var.name}-backlog"
  alarm_description    = "Messages accumulate on the broker: check the API, the trigger, and the dead letters"
  alarm_type           = "MULTI_INSTANCE"
  alarm_action_enabled = true

  metric {
    namespace = "SYS.DMS"
  }

  resources {
    dimensions {
      name  = "rabbitmq_instance_id"
      value = huaweicloud_dms_rabbitmq_instance.this.id
    }
  }

  # Three periods in a row, so that a burst of snapshots at night raises no alarm.
  condition {
    metric_name         = "messages_ready"
    period              = 300
    filter              = "average"
    comparison_operator = ">"
    value               = var.backlog_alarm
    count               = 3
    suppress_duration   = 3600
    alarm_level         = 2
  }

  alarm_actions {
    type              = "notification"
    notification_list = [huaweicloud_smn_topic.alarms.topic_urn]
  }
}
