resource "huaweicloud_fgs_function" "this" {
  name                  = var.name
  description           = "Makes a backup of each completed snapshot"
  app                   = "default"
  functiongraph_version = "v2"
  runtime               = "Python3.12"
  handler               = "index.handler"
  initializer_handler   = "index.initializer"
  initializer_timeout   = 30
  timeout               = var.function_timeout
  memory_size           = var.function_memory_mb
  max_instance_num      = tostring(var.function_instances)
  code_type             = "zip"
  code_filename         = basename(var.package_file)
  func_code             = filebase64(var.package_file)
  agency                = huaweicloud_identity_agency.platform.name
  app_agency            = huaweicloud_identity_agency.backup.name
  vpc_id                = huaweicloud_vpc.this.id
  network_id            = huaweicloud_vpc_subnet.this.id
  user_data             = jsonencode(local.settings)
  encrypted_user_data   = jsonencode(local.secret_settings)
  enable_lts_log        = true
  log_group_id          = huaweicloud_lts_group.this.id
  log_group_name        = huaweicloud_lts_group.this.group_name
  log_stream_id         = huaweicloud_lts_stream.this.id
  log_stream_name       = huaweicloud_lts_stream.this.stream_name
  tags                  = var.tags

  lifecycle {
    precondition {
      condition     = length(jsonencode(local.settings)) + length(jsonencode(local.secret_settings)) <= 4096
      error_message = "The function's settings together may not exceed 4096 characters."
    }
  }
}

# The trigger calls asynchronously. Repeating a call is safe, since the ledger knows what was done. Without
# repeats, a call that fails as a whole (it cannot reach the broker to delay messages) would lose its batch.
resource "huaweicloud_fgs_async_invoke_configuration" "this" {
  function_urn                   = huaweicloud_fgs_function.this.urn
  max_async_event_age_in_seconds = 86400
  max_async_retry_attempts       = 3
  enable_async_status_log        = true

  on_failure {
    destination = "SMN"
    param       = jsonencode({ topic_urn = huaweicloud_smn_topic.alarms.topic_urn })
  }
}

# The provider writes the server's answer into event_data, so changes of it are ignored below. When our
# settings change, this record replaces the trigger.
resource "terraform_data" "trigger" {
  input = {
    batch_size = var.batch_size
    exchange   = huaweicloud_dms_rabbitmq_exchange.queue.name
    login      = sha256("${var.broker_user}:${var.broker_password}")
  }
}

# Letters and digits only: a comma separates keys.
resource "random_password" "state_key" {
  length  = 48
  special = false
}

resource "huaweicloud_fgs_function_trigger" "queue" {
  count = var.trigger_enabled ? 1 : 0

  function_urn = huaweicloud_fgs_function.this.urn
  type         = "RABBITMQ"
  status       = "ACTIVE"

  event_data = jsonencode({
    instance_id     = huaweicloud_dms_rabbitmq_instance.this.id
    connect_address = huaweicloud_dms_rabbitmq_instance.this.connect_address
    vhost           = huaweicloud_dms_rabbitmq_vhost.this.name
    exchange_name   = huaweicloud_dms_rabbitmq_exchange.queue.name
    access_user     = var.broker_user
    access_password = var.broker_password
    ssl_enable      = var.broker_tls
    batch_size      = var.batch_size
  })

  lifecycle {
    ignore_changes       = [event_data]
    replace_triggered_by = [terraform_data.trigger]
  }

  # The first batch must not arrive before its repeat is configured.
  depends_on = [huaweicloud_fgs_async_invoke_configuration.this]
}
